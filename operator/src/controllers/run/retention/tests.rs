//! Rounds over a real journal and an API server that answers from a function.

use std::sync::{Arc, Mutex};

use jiff::SignedDuration;
use ntro_crds::labels;
use ntro_journal::{CreateRun, TestClock};
use serde_json::{Value, json};
use tokio::sync::mpsc::UnboundedReceiver;
use uuid::Uuid;

use super::*;
use crate::testing::runs::run_created;
use crate::testing::{Asked, api_server, context};

/// What the API server has. Null: it has it not. A text: it answers what is no object.
struct ServerHas {
    namespace: Value,
    run: Value,
}

struct World {
    context: Context,
    clock: Arc<TestClock>,
    api: Arc<Mutex<ServerHas>>,
    asked: UnboundedReceiver<Asked>,
    _dir: tempfile::TempDir,
}

fn namespace(annotations: &Value) -> Value {
    let labels = json!({ labels::TENANT: "acme" });
    let metadata = json!({"name": "acme", "uid": "uid-acme", "labels": labels, "annotations": annotations});
    json!({"apiVersion": "v1", "kind": "Namespace", "metadata": metadata})
}

fn object(uid: &str, annotations: &Value) -> Value {
    let request = json!({"workflowRef": {"name": "nav"}, "trigger": {"kind": "Manual", "initiator": "ina"}});
    let metadata = json!({"name": "nav-1", "namespace": "acme", "uid": uid, "annotations": annotations});
    json!({"apiVersion": "ntro.dev/v1alpha1", "kind": "WorkflowRun", "metadata": metadata, "spec": {"request": request}})
}

impl World {
    async fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let api = Arc::new(Mutex::new(ServerHas { namespace: namespace(&json!({})), run: object("a", &json!({})) }));
        let known = Arc::clone(&api);
        let (client, asked) = api_server(move |asked| {
            let api = known.lock().unwrap();
            let answer = if asked.path.contains("/workflowruns/") { &api.run } else { &api.namespace };
            Some(answer.clone()).filter(|answer| !answer.is_null())
        });
        let (context, clock) = context(dir.path(), client).await;
        Self { context, clock, api, asked, _dir: dir }
    }

    /// A run that ended that many days ago.
    async fn ended(&self, name: &str, days: i64) -> Uuid {
        let (journal, run_id) = (&self.context.journal, Uuid::new_v4());
        let run = CreateRun { run: run_created(run_id, "acme", name), request_hash: "r".to_owned() };
        journal.create_run(run).await.unwrap();
        journal.cancel(run_id, "act", "bob").await.unwrap();
        self.clock.advance(SignedDuration::from_mins(3));
        journal.collect_blobs(None).await.unwrap();
        self.clock.advance(SignedDuration::from_hours(24 * days));
        run_id
    }

    fn says(&self, change: impl FnOnce(&mut ServerHas)) {
        change(&mut self.api.lock().unwrap());
    }

    async fn is_purged(&self, run_id: Uuid) -> bool {
        round(&self.context).await;
        self.context.journal.purged(run_id).await.unwrap().is_some()
    }

    fn metric(&self, part: &str) -> String {
        let text = self.context.metrics.encode().unwrap();
        let name = format!("ntro_purged_runs_total{{part=\"{part}\"}} ");
        text.lines().find_map(|line| line.strip_prefix(&name)).unwrap().to_owned()
    }
}

#[tokio::test]
async fn what_is_due_is_purged_after_the_api_server_was_asked() {
    let mut world = World::new().await;
    let run = world.ended("nav-1", 31).await;
    assert!(!world.is_purged(run).await);
    assert_eq!([world.metric("log"), world.metric("journal")], ["1", "0"]);
    world.clock.advance(SignedDuration::from_hours(24 * 365));
    assert!(world.is_purged(run).await);
    assert_eq!([world.metric("log"), world.metric("journal")], ["1", "1"]);
    let mut paths = Vec::new();
    while let Ok(asked) = world.asked.try_recv() {
        assert_eq!(asked.method, "GET");
        paths.push(asked.path);
    }
    let both = ["/api/v1/namespaces/acme", "/apis/ntro.dev/v1alpha1/namespaces/acme/workflowruns/nav-1"];
    assert_eq!(paths, [both, both].concat());
}

#[tokio::test]
async fn nobody_is_asked_while_nothing_is_due() {
    let mut world = World::new().await;
    let run = world.ended("nav-1", 29).await;
    assert!(!world.is_purged(run).await);
    assert!(world.asked.try_recv().is_err());
}

#[tokio::test]
async fn a_run_without_an_object_is_purged_too() {
    let world = World::new().await;
    let run = world.ended("nav-1", 400).await;
    world.says(|api| api.run = Value::Null);
    assert!(world.is_purged(run).await);
}

#[tokio::test]
async fn a_hold_on_the_run_stops_it_and_outlives_the_object() {
    let world = World::new().await;
    let run = world.ended("nav-1", 400).await;
    world.says(|api| api.run = object("a", &json!({ labels::HOLD: "audit" })));
    assert!(!world.is_purged(run).await);
    assert_eq!(world.context.journal.hold(run).await.unwrap().unwrap().reason, "audit");
    for stays in [Value::Null, object("b", &json!({}))] {
        world.says(|api| api.run = stays);
        assert!(!world.is_purged(run).await);
    }
    world.says(|api| api.run = object("a", &json!({})));
    assert!(world.is_purged(run).await, "it was lifted");
}

#[tokio::test]
async fn a_hold_on_the_namespace_stops_it_before_the_watch_shows_it() {
    let world = World::new().await;
    let run = world.ended("nav-1", 400).await;
    world.says(|api| api.namespace = namespace(&json!({ labels::HOLD: "audit" })));
    assert!(!world.is_purged(run).await);
    let held = world.context.tenants.get("acme").map(|tenant| Tenant { keeping: Keeping::Held, ..tenant });
    world.context.tenants.set("acme", held);
    assert!(!world.is_purged(run).await, "and after");
}

#[tokio::test]
async fn what_the_api_server_does_not_say_purges_nothing() {
    let world = World::new().await;
    let run = world.ended("nav-1", 400).await;
    for says in [
        (Value::Null, Value::Null),
        (json!("broken"), Value::Null),
        (namespace(&json!({ labels::RETENTION_JOURNAL: "3650d" })), Value::Null),
        (namespace(&json!({})), json!("broken")),
    ] {
        world.says(|api| (api.namespace, api.run) = says);
        assert!(!world.is_purged(run).await);
    }
    world.says(|api| api.run = Value::Null);
    assert!(world.is_purged(run).await);
}

#[tokio::test]
async fn a_clock_that_is_ahead_of_the_api_servers_purges_nothing() {
    let world = World::new().await;
    let run = world.ended("nav-1", 400).await;
    let two_hours_ago = world.context.clock.now() - SignedDuration::from_hours(2);
    world.context.kube.server_time.hear(two_hours_ago);
    assert!(!world.is_purged(run).await);
    world.context.kube.server_time.hear(two_hours_ago + SignedDuration::from_mins(61));
    assert!(world.is_purged(run).await);
}

#[tokio::test]
async fn a_retention_that_cannot_be_read_purges_nothing() {
    let world = World::new().await;
    let run = world.ended("nav-1", 4000).await;
    let namespace = namespace(&json!({ labels::RETENTION_LOGS: "soon" }));
    world.context.tenants.set("acme", tenant_of(&serde_json::from_value(namespace.clone()).unwrap()));
    world.says(|api| api.namespace = namespace);
    assert!(!world.is_purged(run).await);
}

#[tokio::test]
async fn a_run_that_fails_keeps_no_other_from_being_purged() {
    let world = World::new().await;
    let (first, second) = (world.ended("nav-0", 0).await, world.ended("nav-1", 400).await);
    // Its blobs cannot be deleted.
    let broken = world.context.settings.data_dir.join("journal/blobs/acme").join(first.to_string());
    std::fs::create_dir_all(broken.parent().unwrap()).unwrap();
    std::fs::write(&broken, "no directory").unwrap();
    world.says(|api| api.run = Value::Null);
    assert!(world.is_purged(second).await);
    assert!(world.context.journal.state(first).await.is_err(), "its purge was begun");
    std::fs::remove_file(&broken).unwrap();
    round(&world.context).await;
    assert_eq!(world.context.journal.continue_purges().await.unwrap(), 0, "and carried out in a later round");
}
