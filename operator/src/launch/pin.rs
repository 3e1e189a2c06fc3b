//! What a run is fixed to when it starts: digest, image, configuration, gate policy. Pure.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};

use ntro_bundle::config_schema::{ConfigSchema, FieldError};
use ntro_crds::Reason;
use ntro_crds::labels::RUNNER_SERVICE_ACCOUNT;
use ntro_crds::policy::OnExpiry;
use ntro_crds::runbook::VerifiedVersion;
use ntro_crds::schema::Object;
use ntro_crds::workflow_run::{PinnedRunbook, Request, RunPin};
use ntro_crds::{Runbook, Workflow};
use ntro_journal::RunState;
use ntro_journal::protocol as journal;
use serde_json::{Map, Value, json};
use uuid::Uuid;

use crate::error::{Class, Classified, Problem};

/// Names of tenants and entities become UUIDs under this one (see `docs/protocol.md`).
const IDENTITIES: Uuid = Uuid::from_u128(0x6f1d_0c1e_6f1c_5d53_9d0b_4b7c_9a0d_5f11);

/// Why a run cannot be pinned.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum PinError {
    /// The Runbook does not exist.
    #[error("Runbook {0} does not exist")]
    RunbookMissing(String),
    /// The Runbook has no verified version yet.
    #[error("Runbook {0} has no verified version yet; see its conditions")]
    RunbookNotReady(String),
    /// The version wanted is not among the verified ones.
    #[error("version {version} of Runbook {runbook} is not verified yet")]
    VersionNotVerified {
        /// Its name.
        runbook: String,
        /// What was asked for.
        version: String,
    },
    /// The runner image has no digest.
    #[error("the runner image `{0}` is not pinned: name it as repo@sha256:…")]
    ImageNotPinned(String),
    /// The configuration does not fit.
    #[error("the configuration does not fit the runbook's config_schema: {0}")]
    ConfigInvalid(String),
    /// The gate policy names a step that the runbook does not have.
    #[error("gatePolicy names step {step}, which runbook {runbook} does not have")]
    UnknownStep { step: String, runbook: String },
    /// The gate policy asks for what this release cannot do.
    #[error("gatePolicy: onExpiry {0} is not supported yet; use `reject`")]
    ExpiryUnsupported(&'static str),
}

impl Classified for PinError {
    fn class(&self) -> Class {
        match self {
            Self::RunbookMissing(_) | Self::RunbookNotReady(_) | Self::VersionNotVerified { .. } => {
                Class::Waiting { after: std::time::Duration::from_mins(1) }
            }
            Self::ImageNotPinned(_)
            | Self::ConfigInvalid(_)
            | Self::UnknownStep { .. }
            | Self::ExpiryUnsupported(_) => Class::Invalid,
        }
    }

    fn reason(&self) -> Reason {
        match self {
            Self::RunbookMissing(_) => Reason::RunbookMissing,
            Self::RunbookNotReady(_) => Reason::RunbookNotReady,
            Self::VersionNotVerified { .. } => Reason::VersionNotVerified,
            Self::ImageNotPinned(_) => Reason::ImageNotPinned,
            Self::ConfigInvalid(_) => Reason::ConfigInvalid,
            Self::UnknownStep { .. } | Self::ExpiryUnsupported(_) => Reason::GatePolicyInvalid,
        }
    }
}

/// The version of `runbook` that a run of `workflow` would execute now.
pub(crate) fn version<'a>(workflow: &Workflow, runbook: Option<&'a Runbook>) -> Result<&'a VerifiedVersion, PinError> {
    let name = &workflow.spec.runbook_ref.name;
    let runbook = runbook.ok_or_else(|| PinError::RunbookMissing(name.clone()))?;
    let status = runbook.status.as_ref().ok_or_else(|| PinError::RunbookNotReady(name.clone()))?;
    let verified = status.versions.as_deref().unwrap_or_default();
    if let Some(wanted) = &workflow.spec.runbook_ref.version {
        let missing = || PinError::VersionNotVerified { runbook: name.clone(), version: wanted.clone() };
        return verified.iter().find(|v| v.digest == *wanted || v.version == *wanted).ok_or_else(missing);
    }
    let not_ready = || PinError::RunbookNotReady(name.clone());
    let resolved = status.resolved.as_ref().ok_or_else(not_ready)?;
    verified.iter().find(|v| v.digest == resolved.digest).ok_or_else(not_ready)
}

/// Schemas kept.
const SCHEMAS: usize = 16;

/// The schema, read. Those used last are kept: thousands of Workflows share a runbook, and reading its schema costs more than
/// all else about pinning a run.
fn parsed(raw: &Object) -> Result<Arc<ConfigSchema>, Vec<FieldError>> {
    static KEPT: Mutex<VecDeque<(Object, Arc<ConfigSchema>)>> = Mutex::new(VecDeque::new());
    let mut kept = KEPT.lock().unwrap_or_else(PoisonError::into_inner);
    let at = kept.iter().position(|(known, _)| known == raw);
    let last_used = match at.and_then(|at| kept.remove(at)) {
        Some(found) => found,
        None => (raw.clone(), Arc::new(ConfigSchema::parse(&Value::Object(raw.clone()))?)),
    };
    let schema = Arc::clone(&last_used.1);
    kept.push_front(last_used);
    kept.truncate(SCHEMAS);
    Ok(schema)
}

/// The Workflow's configuration with the schema's defaults; `context` is what a run brings along, absent when none is meant.
pub(crate) fn config(
    workflow: &Workflow,
    version: &VerifiedVersion,
    context: Option<&Value>,
) -> Result<Object, PinError> {
    let given = Value::Object(workflow.spec.config.clone().unwrap_or_default());
    let Some(raw) = &version.config_schema else {
        return Ok(workflow.spec.config.clone().unwrap_or_default());
    };
    let one = |problems: Vec<FieldError>| {
        PinError::ConfigInvalid(problems.iter().map(ToString::to_string).collect::<Vec<_>>().join("; "))
    };
    let schema = parsed(raw).map_err(one)?;
    let merged = match context {
        Some(context) => schema.resolve(&given, context),
        None => schema.check(&given, &["period"]),
    };
    match merged.map_err(one)? {
        Value::Object(object) => Ok(object),
        _ => Ok(Object::new()),
    }
}

/// Refuses a gate policy for steps that do not exist.
pub(crate) fn check_gate_policy(workflow: &Workflow, version: &VerifiedVersion) -> Result<(), PinError> {
    let policies = workflow.spec.gate_policy.iter();
    let deciders = policies.flat_map(|p| p.default.iter().chain(p.gates.iter().flatten().map(|rule| &rule.deciders)));
    for expiry in deciders.filter_map(|deciders| deciders.on_expiry) {
        match expiry {
            OnExpiry::Reject => {}
            OnExpiry::Escalate => return Err(PinError::ExpiryUnsupported("escalate")),
            OnExpiry::Fail => return Err(PinError::ExpiryUnsupported("fail")),
        }
    }
    let mut rules = workflow.spec.gate_policy.iter().flat_map(|policy| policy.gates.iter().flatten());
    let steps: Vec<&str> = version.steps.iter().flatten().map(|step| step.id.as_str()).collect();
    match rules.find(|rule| !steps.contains(&rule.step.as_str())) {
        None => Ok(()),
        Some(rule) => {
            let runbook = workflow.spec.runbook_ref.name.clone();
            Err(PinError::UnknownStep { step: rule.step.clone(), runbook })
        }
    }
}

/// The runner image of a Workflow's runs: its own, else the installation's. Tags are never resolved.
pub(crate) fn image<'a>(workflow: &'a Workflow, installed: Option<&'a str>) -> Result<&'a str, PinError> {
    let own = workflow.spec.run_template.as_ref().and_then(|template| template.image.as_deref());
    let image = own.or(installed).unwrap_or_default();
    let pinned = image.rsplit_once("@sha256:").is_some_and(|(_, hex)| hex.len() == 64);
    if pinned { Ok(image) } else { Err(PinError::ImageNotPinned(image.to_owned())) }
}

/// Everything a pin is made from.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Sources<'a> {
    pub workflow: &'a Workflow,
    pub workflow_uid: &'a str,
    /// The Runbook it names.
    pub runbook: Option<&'a Runbook>,
    /// The tenant's slug.
    pub tenant: &'a str,
    /// The operator's runner image.
    pub runner_image: Option<&'a str>,
    /// What was asked for.
    pub request: &'a Request,
}

pub(crate) fn pin(sources: &Sources<'_>) -> Result<RunPin, PinError> {
    let workflow = sources.workflow;
    let version = version(workflow, sources.runbook)?;
    check_gate_policy(workflow, version)?;
    let template = workflow.spec.run_template.clone();
    let image = image(workflow, sources.runner_image)?;
    let period = sources.request.context.as_ref().and_then(|context| context.period.clone());
    let context = period.map_or_else(|| json!({}), |period| json!({ "period": period }));
    Ok(RunPin {
        runbook: PinnedRunbook {
            name: workflow.spec.runbook_ref.name.clone(),
            version: version.version.clone(),
            digest: version.digest.clone(),
            layer_digest: version.layer_digest.clone(),
            repository: sources.runbook.map(|r| r.spec.source.url.clone()).unwrap_or_default(),
        },
        workflow_uid: sources.workflow_uid.to_owned(),
        tenant: sources.tenant.to_owned(),
        entity: workflow.spec.entity.clone(),
        image: image.to_owned(),
        service_account_name: RUNNER_SERVICE_ACCOUNT.to_owned(),
        config: config(workflow, version, Some(&context))?,
        gate_policy: workflow.spec.gate_policy.clone(),
        run_template: template,
        secret_refs: workflow.spec.secret_refs.clone(),
        activities: version.activities.clone(),
        outputs: version.outputs.clone(),
        handles_cancel: version.handles_cancel,
    })
}

/// Activities of the SDK itself that change nothing, whatever a runbook declares or forgets to.
const SDK_ACTIVITIES_WITHOUT_EFFECT: [&str; 3] = ["run_quality_check", "load_previous_task", "find_committed_document"];

/// The pin as the journal keeps it: what runners and the machine need, and the whole as text. (Entries hold no fractions,
/// which a configuration may.)
pub(crate) fn for_journal(pin: &RunPin, request: &Request) -> Result<journal::Pin, serde_json::Error> {
    let of_sdk = SDK_ACTIVITIES_WITHOUT_EFFECT.map(|name| (name.to_owned(), json!({ "effect": "none" })));
    let declared = pin.activities.iter().flatten().map(|activity| {
        let mut policy = json!({ "effect": activity.effect });
        if let Some(step) = &activity.requires {
            policy["requires"] = json!(step);
        }
        (activity.name.clone(), policy)
    });
    let activities: Map<String, Value> = of_sdk.into_iter().chain(declared).collect();
    let mut map = Map::new();
    map.insert("runbook".to_owned(), serde_json::to_value(&pin.runbook)?);
    map.insert("layerDigest".to_owned(), json!(pin.runbook.layer_digest));
    map.insert("image".to_owned(), json!(pin.image));
    map.insert("activities".to_owned(), Value::Object(activities));
    if pin.handles_cancel == Some(true) {
        map.insert("handlesCancel".to_owned(), json!(true));
    }
    if let Some(period) = request.context.as_ref().and_then(|context| context.period.clone()) {
        map.insert("period".to_owned(), Value::String(period));
    }
    map.insert("whole".to_owned(), Value::String(serde_json::to_string(pin)?));
    Ok(journal::Pin(map))
}

/// The pin back from the journal.
pub(crate) fn from_journal(pin: &journal::Pin) -> Option<RunPin> {
    serde_json::from_str(pin.0.get("whole")?.as_str()?).ok()
}

/// The pin of a run. An error if another release wrote it.
pub(crate) fn readable(state: &RunState) -> Result<RunPin, Problem> {
    from_journal(&state.pin).ok_or_else(|| {
        let message = format!("the journal of run {} has a pin this release cannot read", state.run_id);
        Problem::new(Class::Bug, Reason::PinUnreadable, message)
    })
}

/// The input envelope of a run (`docs/protocol.md` §8), as JSON text.
pub(crate) fn input(pin: &RunPin, request: &Request, run_id: Uuid) -> String {
    let id = |name: &str| Uuid::new_v5(&IDENTITIES, name.as_bytes()).to_string();
    let section = |key: &str| pin.config.get(key).filter(|v| v.is_object()).cloned().unwrap_or_else(|| json!({}));
    let period = request.context.as_ref().and_then(|context| context.period.clone());
    json!({
        "tenant_id": id(&format!("tenant/{}", pin.tenant)),
        "tenant_slug": pin.tenant,
        "entity_id": id(&format!("entity/{}/{}", pin.tenant, pin.entity)),
        "entity_slug": pin.entity,
        "period": period,
        "task_id": run_id.to_string(),
        "config": pin.config,
        "ai": section("ai"),
        "gl": section("gl"),
    })
    .to_string()
}
