//! The Job of a segment. Pure: a pin and names in, a Job out.

use std::collections::BTreeMap;
use std::time::Duration;

use k8s_openapi::api::batch::v1::{Job, JobSpec};
use k8s_openapi::api::core::v1::{
    Capabilities, ConfigMapProjection, Container, EmptyDirVolumeSource, EnvVar, KeyToPath, PodSecurityContext, PodSpec,
    PodTemplateSpec, ProjectedVolumeSource, ResourceRequirements, SeccompProfile, SecretVolumeSource, SecurityContext,
    ServiceAccountTokenProjection, Volume, VolumeMount, VolumeProjection,
};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference;
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use kube::api::ObjectMeta;
use ntro_bundle::reference::Digest;
use ntro_crds::labels;
use ntro_crds::workflow::Resources;
use ntro_crds::workflow_run::RunPin;
use ntro_crds::{API_VERSION, names};

/// Where the pod finds its token, and the certificate of who may ask for it.
const IDENTITY_DIR: &str = "/var/run/ntro/identity";
const TOKEN_FILE: &str = "/var/run/ntro/identity/token";
const CA_FILE: &str = "/var/run/ntro/identity/ca.crt";
const SECRETS_DIR: &str = "/var/run/ntro/secrets";
/// The pod asks for a new token well before this is over.
const TOKEN_SECONDS: i64 = 600;
/// Under the minute after which a deleted pod's token is refused, so that it can still say what it knows.
const GRACE_SECONDS: i64 = 30;
const USER: i64 = 65_532;

/// What a Job is made from.
#[derive(Debug, Clone, Copy)]
pub(super) struct JobInput<'a> {
    /// Namespace of the run.
    pub namespace: &'a str,
    /// Name of the run.
    pub run: &'a str,
    /// UID of the `WorkflowRun`, which owns the Job.
    pub run_uid: &'a str,
    /// Identity of the run.
    pub run_id: &'a str,
    /// Name of the Workflow.
    pub workflow: &'a str,
    /// Number of the segment.
    pub segment: u32,
    /// What the run is fixed to.
    pub pin: &'a RunPin,
    /// Address of the operator's API.
    pub api_url: &'a str,
    /// How long a pod waits for an operator that does not answer.
    pub outage_wait: Duration,
    /// Whether a kernel without Landlock is accepted.
    pub allow_no_landlock: bool,
}

/// The Job of a segment, with the hash of its template as an annotation.
pub(super) fn build(input: &JobInput<'_>) -> Job {
    let labels = labels_of(input);
    let spec = JobSpec {
        backoff_limit: Some(0),
        completions: Some(1),
        parallelism: Some(1),
        pod_replacement_policy: Some("Failed".to_owned()),
        // Kueue's webhook would do it; where that is away or looks elsewhere, the run must not pass its queue by.
        suspend: labels.contains_key(labels::KUEUE_QUEUE_NAME).then_some(true),
        template: PodTemplateSpec {
            metadata: Some(ObjectMeta { labels: Some(labels.clone()), ..ObjectMeta::default() }),
            spec: Some(pod(input)),
        },
        ..JobSpec::default()
    };
    let hash = template_hash(&spec);
    Job {
        metadata: ObjectMeta {
            name: Some(names::job(input.run, u64::from(input.segment))),
            namespace: Some(input.namespace.to_owned()),
            labels: Some(labels),
            annotations: Some(BTreeMap::from([(labels::TEMPLATE_HASH.to_owned(), hash)])),
            owner_references: Some(vec![OwnerReference {
                api_version: API_VERSION.to_owned(),
                kind: "WorkflowRun".to_owned(),
                name: input.run.to_owned(),
                uid: input.run_uid.to_owned(),
                controller: Some(true),
                block_owner_deletion: Some(false),
            }]),
            ..ObjectMeta::default()
        },
        spec: Some(spec),
        status: None,
    }
}

/// Hash of what would run: decides whether a Job found under our name is the one we would make.
fn template_hash(spec: &JobSpec) -> String {
    let text = serde_json::to_vec(spec).unwrap_or_default();
    Digest::of(&text).hex()[..32].to_owned()
}

/// Whether a label of the user's reaches Jobs and pods.
fn passed_on(key: &str) -> bool {
    key.starts_with(labels::USER_LABEL_PREFIX) || key.starts_with(labels::KUEUE_LABEL_PREFIX)
}

fn labels_of(input: &JobInput<'_>) -> BTreeMap<String, String> {
    let users = input.pin.run_template.as_ref().and_then(|t| t.labels.clone()).unwrap_or_default();
    let mut all: BTreeMap<_, _> = users.into_iter().filter(|(key, _)| passed_on(key)).collect();
    let segment = input.segment.to_string();
    for (key, value) in [
        (labels::MANAGED_BY, labels::MANAGED_BY_OPERATOR),
        (labels::WORKFLOW, input.workflow),
        (labels::RUN, input.run),
        (labels::RUN_ID, input.run_id),
        (labels::SEGMENT, &segment),
    ] {
        all.insert(key.to_owned(), value.to_owned());
    }
    all
}

fn pod(input: &JobInput<'_>) -> PodSpec {
    let template = input.pin.run_template.clone().unwrap_or_default();
    PodSpec {
        restart_policy: Some("Never".to_owned()),
        service_account_name: Some(input.pin.service_account_name.clone()),
        automount_service_account_token: Some(false),
        enable_service_links: Some(false),
        termination_grace_period_seconds: Some(GRACE_SECONDS),
        security_context: Some(PodSecurityContext {
            run_as_non_root: Some(true),
            run_as_user: Some(USER),
            run_as_group: Some(USER),
            fs_group: Some(USER),
            seccomp_profile: Some(SeccompProfile { type_: "RuntimeDefault".to_owned(), ..SeccompProfile::default() }),
            ..PodSecurityContext::default()
        }),
        node_selector: template.node_selector,
        tolerations: template.tolerations,
        priority_class_name: template.priority_class_name,
        scheduler_name: template.scheduler_name,
        containers: vec![container(input, template.resources.as_ref())],
        volumes: Some(volumes(input)),
        ..PodSpec::default()
    }
}

/// Name of the container that executes a run: others of a pod are somebody else's.
pub(super) const RUNNER: &str = "runner";

fn container(input: &JobInput<'_>, resources: Option<&Resources>) -> Container {
    let env =
        |name: &str, value: &str| EnvVar { name: name.to_owned(), value: Some(value.to_owned()), ..EnvVar::default() };
    let mut environment = vec![
        env("NTRO_API_URL", input.api_url),
        env("NTRO_API_CA", CA_FILE),
        env("NTRO_TOKEN_FILE", TOKEN_FILE),
        env("NTRO_NAMESPACE", input.namespace),
        env("NTRO_RUN", input.run),
        env("NTRO_SEGMENT", &input.segment.to_string()),
        env("NTRO_OUTAGE_WAIT_MS", &input.outage_wait.as_millis().to_string()),
    ];
    if input.allow_no_landlock {
        environment.push(env("NTRO_ALLOW_NO_LANDLOCK", "1"));
    }
    let mount = |name: &str, path: &str, read_only: bool| VolumeMount {
        name: name.to_owned(),
        mount_path: path.to_owned(),
        read_only: Some(read_only),
        ..VolumeMount::default()
    };
    let mut mounts = vec![mount("identity", IDENTITY_DIR, true), mount("tmp", "/tmp", false)];
    for (i, secret) in input.pin.secret_refs.iter().flatten().enumerate() {
        mounts.push(mount(&format!("secret-{i}"), &format!("{SECRETS_DIR}/{}", secret.name), true));
    }
    Container {
        name: RUNNER.to_owned(),
        image: Some(input.pin.image.clone()),
        env: Some(environment),
        volume_mounts: Some(mounts),
        resources: Some(requirements(resources)),
        security_context: Some(SecurityContext {
            allow_privilege_escalation: Some(false),
            read_only_root_filesystem: Some(true),
            capabilities: Some(Capabilities { drop: Some(vec!["ALL".to_owned()]), ..Capabilities::default() }),
            ..SecurityContext::default()
        }),
        termination_message_policy: Some("File".to_owned()),
        ..Container::default()
    }
}

/// The user's resources, else a small request: quotas and queues want one.
fn requirements(resources: Option<&Resources>) -> ResourceRequirements {
    let quantities = |map: &BTreeMap<String, IntOrString>| {
        map.iter()
            .map(|(name, amount)| {
                let text = match amount {
                    IntOrString::Int(n) => n.to_string(),
                    IntOrString::String(text) => text.clone(),
                };
                (name.clone(), Quantity(text))
            })
            .collect::<BTreeMap<_, _>>()
    };
    let default = || {
        BTreeMap::from([
            ("cpu".to_owned(), Quantity("100m".to_owned())),
            ("memory".to_owned(), Quantity("256Mi".to_owned())),
        ])
    };
    ResourceRequirements {
        requests: Some(resources.and_then(|r| r.requests.as_ref()).map_or_else(default, quantities)),
        limits: resources.and_then(|r| r.limits.as_ref()).map(quantities),
        ..ResourceRequirements::default()
    }
}

fn volumes(input: &JobInput<'_>) -> Vec<Volume> {
    let token = ServiceAccountTokenProjection {
        audience: Some(labels::audience(input.namespace)),
        expiration_seconds: Some(TOKEN_SECONDS),
        path: "token".to_owned(),
    };
    let authority = ConfigMapProjection {
        name: labels::CA_CONFIG_MAP.to_owned(),
        items: Some(vec![KeyToPath { key: labels::CA_KEY.to_owned(), path: labels::CA_KEY.to_owned(), mode: None }]),
        optional: None,
    };
    let mut volumes = vec![
        // One volume, because the kubelet takes its time for each.
        Volume {
            name: "identity".to_owned(),
            projected: Some(ProjectedVolumeSource {
                default_mode: Some(0o440),
                sources: Some(vec![
                    VolumeProjection { service_account_token: Some(token), ..VolumeProjection::default() },
                    VolumeProjection { config_map: Some(authority), ..VolumeProjection::default() },
                ]),
            }),
            ..Volume::default()
        },
        Volume { name: "tmp".to_owned(), empty_dir: Some(EmptyDirVolumeSource::default()), ..Volume::default() },
    ];
    for (i, secret) in input.pin.secret_refs.iter().flatten().enumerate() {
        volumes.push(Volume {
            name: format!("secret-{i}"),
            secret: Some(SecretVolumeSource {
                secret_name: Some(secret.name.clone()),
                default_mode: Some(0o440),
                ..SecretVolumeSource::default()
            }),
            ..Volume::default()
        });
    }
    volumes
}

#[cfg(test)]
mod tests;
