//! Reconciles of a Runbook: a registry over HTTP, bundles on disk, and an API server that answers from a function.

use std::collections::HashMap;
use std::net::Ipv4Addr;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use axum::Router;
use axum::extract::{Path as UrlPath, State as AxumState};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use jiff::SignedDuration;
use kube::runtime::reflector::{Store, store};
use kube::runtime::watcher;
use ntro_bundle::artifact::MANIFEST_MEDIA_TYPE;
use ntro_bundle::pack::{PackedBundle, pack};
use ntro_crds::Runbook;
use ntro_journal::TestClock;
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::sync::mpsc::UnboundedReceiver;

use super::Runbooks;
use crate::cache::Cache;
use crate::context::Context;
use crate::controllers::driver::Driver;
use crate::k8s::NamespacedName;
use crate::queue::queue;
use crate::testing::{Asked, api_server, context};

/// A registry with one repository, `acme/nav`, which can be away.
#[derive(Default)]
struct Registry {
    away: AtomicBool,
    pulls: AtomicUsize,
    tags: Mutex<Vec<String>>,
    manifests: Mutex<HashMap<String, (String, Vec<u8>)>>,
    blobs: Mutex<HashMap<String, Vec<u8>>>,
}

impl Registry {
    fn put(&self, bundle: &PackedBundle) {
        let tag = bundle.config.version.to_string();
        let manifest = (bundle.digest.to_string(), bundle.manifest_bytes.to_vec());
        let mut manifests = self.manifests.lock().unwrap();
        manifests.insert(tag.clone(), manifest.clone());
        manifests.insert(manifest.0.clone(), manifest);
        let mut blobs = self.blobs.lock().unwrap();
        for bytes in [&bundle.config_bytes, &bundle.layer] {
            blobs.insert(ntro_bundle::reference::Digest::of(bytes).to_string(), bytes.to_vec());
        }
        self.tags.lock().unwrap().push(tag);
    }
}

async fn registry(AxumState(registry): AxumState<Arc<Registry>>, UrlPath(path): UrlPath<String>) -> Response {
    if registry.away.load(Ordering::SeqCst) {
        return StatusCode::NOT_ACCEPTABLE.into_response();
    }
    let Some(rest) = path.strip_prefix("acme/nav/") else { return StatusCode::NOT_FOUND.into_response() };
    if rest == "tags/list" {
        let tags = json!({"name": "acme/nav", "tags": *registry.tags.lock().unwrap()});
        return axum::Json(tags).into_response();
    }
    if let Some(name) = rest.strip_prefix("manifests/") {
        return match registry.manifests.lock().unwrap().get(name) {
            Some((digest, bytes)) => {
                let headers = [("docker-content-digest", digest.as_str()), ("content-type", MANIFEST_MEDIA_TYPE)];
                (headers, bytes.clone()).into_response()
            }
            None => StatusCode::NOT_FOUND.into_response(),
        };
    }
    let digest = rest.strip_prefix("blobs/").unwrap_or_default();
    registry.pulls.fetch_add(1, Ordering::SeqCst);
    match registry.blobs.lock().unwrap().get(digest) {
        Some(bytes) => bytes.clone().into_response(),
        None => StatusCode::NOT_FOUND.into_response(),
    }
}

fn bundle(slug: &str, version: &str) -> PackedBundle {
    let dir = tempfile::tempdir().unwrap();
    let write = |path: &str, text: &str| {
        let path = dir.path().join(path);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
    };
    let frontmatter = format!(
        "---\nslug: {slug}\nname: NAV\nversion: {version}\nstate: DRAFT\nauthor: A\nsteps:\n  - id: review\n    label: Review\n\
         activities:\n  nav.post:\n    requires: review\n    effect: idempotent\noutputs:\n  - pack.xlsx\nhandles_cancel: true\n---\n"
    );
    write("runbook.md", &frontmatter);
    let class = ntro_bundle::manifest::workflow_class(slug);
    write("templates/workflow.py", &format!("class {class}:\n    pass\n"));
    write("templates/__init__.py", "");
    write("templates/activities.py", "");
    pack(dir.path()).unwrap()
}

/// A Runbook on an API server that keeps its status, and the controller's state over it.
struct World {
    registry: Arc<Registry>,
    runbooks: Runbooks,
    driver: Driver,
    writer: kube::runtime::reflector::store::Writer<Runbook>,
    clock: Arc<TestClock>,
    asked: UnboundedReceiver<Asked>,
    runbook: Value,
}

impl World {
    async fn new(dir: &Path, spec: Value) -> Self {
        let registry = Arc::new(Registry::default());
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let address = listener.local_addr().unwrap();
        let routes = Router::new()
            .route("/v2/", get(|| async { StatusCode::OK }))
            .route("/v2/{*path}", get(self::registry))
            .with_state(Arc::clone(&registry));
        tokio::spawn(async move { axum::serve(listener, routes).await });
        let _ = rustls::crypto::ring::default_provider().install_default();
        let (client, asked) = api_server(|asked| {
            let path = asked.path.split('?').next().unwrap_or_default();
            // What is applied or created is answered as it came.
            (asked.method != "GET").then(|| {
                let mut object = asked.body.clone();
                if path.ends_with("/status") {
                    object["spec"] = json!({"source": {"url": "oci://registry.example.com/x"}});
                }
                object
            })
        });
        let (context, clock): (Context, _) = context(dir, client).await;
        let (workflows, (known, writer)): (Store<_>, _) = (store().0, store());
        let driver = Driver::new(Arc::clone(&context.metrics));
        let runbooks = Runbooks::new(context, Cache::new(workflows, known, queue().0), queue().0);
        let mut runbook = json!({
            "apiVersion": "ntro.dev/v1alpha1", "kind": "Runbook",
            "metadata": {"name": "nav", "namespace": "acme", "uid": "u", "generation": 1},
            "spec": {"source": {"url": format!("oci://{address}/acme/nav"), "insecure": true}},
        });
        for (key, value) in spec.as_object().unwrap() {
            runbook["spec"][key] = value.clone();
        }
        Self { registry, runbooks, driver, writer, clock, asked, runbook }
    }

    /// One reconcile; gives the status if it was written.
    async fn reconcile(&mut self) -> Option<Value> {
        let object: Runbook = serde_json::from_value(self.runbook.clone()).unwrap();
        self.writer.apply_watcher_event(&watcher::Event::Apply(object));
        self.driver.drive(&self.runbooks, &NamespacedName::new("acme", "nav")).await;
        let mut written = None;
        while let Ok(asked) = self.asked.try_recv() {
            if asked.method == "PATCH" && asked.path.contains("/runbooks/nav/status") {
                assert!(asked.path.contains("fieldManager=ntro-operator"), "{}", asked.path);
                written = Some(asked.body["status"].clone());
            }
        }
        if let Some(status) = &written {
            self.runbook["status"] = status.clone();
        }
        written
    }

    fn wait(&self, time: SignedDuration) {
        self.clock.advance(time);
    }
}

fn condition(status: &Value, kind: &str) -> String {
    let conditions = status["conditions"].as_array().unwrap();
    let found = conditions.iter().find(|c| c["type"] == kind);
    found.map_or(String::new(), |c| format!("{} {}", c["status"].as_str().unwrap(), c["reason"].as_str().unwrap()))
}

#[tokio::test]
async fn the_newest_version_is_resolved_fetched_once_and_told() {
    let dir = tempfile::tempdir().unwrap();
    let mut world = World::new(dir.path(), json!({})).await;
    let (old, new) = (bundle("nav", "1.0.0"), bundle("nav", "1.1.0"));
    world.registry.put(&old);
    world.registry.put(&new);
    let status = world.reconcile().await.unwrap();
    assert_eq!(condition(&status, "Ready"), "True Resolved");
    assert_eq!(status["resolved"], json!({"version": "1.1.0", "digest": new.digest.as_str()}));
    assert_eq!(status["available"], json!(["1.1.0", "1.0.0"]));
    let version = &status["versions"][0];
    assert_eq!(version["layerDigest"], json!(new.layer_digest.as_str()));
    assert_eq!(version["activities"], json!([{"name": "nav.post", "effect": "idempotent", "requires": "review"}]));
    assert_eq!(version["outputs"], json!(["pack.xlsx"]));
    assert_eq!(version["handlesCancel"], json!(true));

    let pulls = world.registry.pulls.load(Ordering::SeqCst);
    world.wait(SignedDuration::from_mins(12));
    assert_eq!(world.reconcile().await, None, "a poll without news writes nothing");
    assert_eq!(world.registry.pulls.load(Ordering::SeqCst), pulls, "and fetches nothing");
}

#[tokio::test]
async fn an_outage_keeps_the_last_good_version_and_ends_without_a_trace() {
    let dir = tempfile::tempdir().unwrap();
    let mut world = World::new(dir.path(), json!({})).await;
    world.registry.put(&bundle("nav", "1.0.0"));
    let good = world.reconcile().await.unwrap();
    world.registry.away.store(true, Ordering::SeqCst);
    world.wait(SignedDuration::from_mins(12));
    let out = world.reconcile().await.unwrap();
    assert_eq!(condition(&out, "Ready"), "True Resolved");
    assert!(condition(&out, "FetchFailed").starts_with("True "), "{out}");
    assert_eq!(out["resolved"], good["resolved"]);
    world.registry.away.store(false, Ordering::SeqCst);
    world.wait(SignedDuration::from_mins(12));
    assert_eq!(world.reconcile().await.unwrap(), good);
}

#[tokio::test]
async fn a_bundle_of_another_runbook_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let mut world = World::new(dir.path(), json!({"version": "1.0.0"})).await;
    world.registry.put(&bundle("other", "1.0.0"));
    let status = world.reconcile().await.unwrap();
    assert_eq!(condition(&status, "Ready"), "False SlugMismatch");
    assert_eq!(condition(&status, "Stalled"), "True SlugMismatch");
    assert_eq!(status.get("resolved"), None);
}

#[tokio::test]
async fn a_version_that_comes_later_makes_it_ready() {
    let dir = tempfile::tempdir().unwrap();
    let mut world = World::new(dir.path(), json!({"version": "2.0.0"})).await;
    let status = world.reconcile().await.unwrap();
    assert_eq!(condition(&status, "Reconciling"), "True NotFound");
    assert_ne!(status["observedGeneration"], json!(1), "it is not settled");
    world.registry.put(&bundle("nav", "2.0.0"));
    assert_eq!(world.reconcile().await, None, "not asked again before its time");
    world.wait(SignedDuration::from_mins(1));
    assert_eq!(condition(&world.reconcile().await.unwrap(), "Ready"), "True Resolved");
}

#[tokio::test]
async fn a_request_of_a_person_is_served_at_once() {
    let dir = tempfile::tempdir().unwrap();
    let mut world = World::new(dir.path(), json!({})).await;
    world.registry.put(&bundle("nav", "1.0.0"));
    world.reconcile().await.unwrap();
    world.registry.put(&bundle("nav", "1.1.0"));
    assert_eq!(world.reconcile().await, None);
    world.runbook["metadata"]["annotations"] = json!({"reconcile.ntro.dev/requestedAt": "now"});
    let status = world.reconcile().await.unwrap();
    assert_eq!(status["resolved"]["version"], "1.1.0");
    assert_eq!(status["lastHandledReconcileAt"], "now");
}

#[tokio::test]
async fn a_namespace_that_is_no_tenant_is_told_so() {
    let dir = tempfile::tempdir().unwrap();
    let mut world = World::new(dir.path(), json!({})).await;
    world.registry.put(&bundle("nav", "1.0.0"));
    world.runbooks.context.tenants.set("acme", None);
    let status = world.reconcile().await.unwrap();
    assert_eq!(condition(&status, "Ready"), "False NotATenant");
    assert_eq!(world.registry.pulls.load(Ordering::SeqCst), 0);
}
