//! Stand-ins for tests: an API server that answers from a function, and a context over it.

pub(crate) mod runs;

use std::sync::Arc;

use axum::http::{Request, Response};
use jiff::Timestamp;
use kube::Client;
use kube::client::Body;
use ntro_journal::{Journal, Retention, TestClock};
use serde_json::{Value, json};
use tokio::sync::mpsc;

use crate::args::Settings;
use crate::bundles::Bundles;
use crate::cache::tenants::{Tenant, Tenants};
use crate::cache::{Keeping, OwnLimits};
use crate::clock::Clock;
use crate::context::Context;
use crate::k8s::{Access, Events};
use crate::metrics::Metrics;

/// A request to the API server: method, path with query, body.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Asked {
    pub method: String,
    /// Path and query.
    pub path: String,
    /// Body, null if there is none.
    pub body: Value,
}

/// A client whose API server is `answer`: `None` is 404. Every request is told to the receiver.
pub(crate) fn api_server(
    answer: impl Fn(&Asked) -> Option<Value> + Send + Sync + 'static,
) -> (Client, mpsc::UnboundedReceiver<Asked>) {
    let (told, asked) = mpsc::unbounded_channel();
    let answer = Arc::new(answer);
    let service = tower::service_fn(move |request: Request<Body>| {
        let (answer, told) = (Arc::clone(&answer), told.clone());
        async move {
            let (method, path) = (request.method().to_string(), request.uri().to_string());
            let body = axum::body::Body::new(request.into_body());
            let bytes = axum::body::to_bytes(body, usize::MAX).await.unwrap();
            let body = serde_json::from_slice(&bytes).unwrap_or(Value::Null);
            let asked = Asked { method, path, body };
            let (code, reply) = answer(&asked).map_or_else(|| (404, not_found()), |reply| (200, reply));
            let _ = told.send(asked);
            let response = Response::builder().status(code).body(Body::from(reply.to_string().into_bytes()));
            Ok::<_, std::convert::Infallible>(response.unwrap())
        }
    });
    (Client::new(service, "default"), asked)
}

/// The answer of an API server that knows no user actions in this namespace, and nothing else.
pub(crate) fn nobody_acted_in(namespace: &str, asked: &Asked) -> Option<Value> {
    let known = asked.path.contains(&format!("/namespaces/{namespace}/useractions"));
    known.then(|| json!({"apiVersion": "ntro.dev/v1alpha1", "kind": "UserActionList", "metadata": {}, "items": []}))
}

fn not_found() -> Value {
    json!({
        "kind": "Status", "apiVersion": "v1", "status": "Failure", "metadata": {},
        "message": "not found", "reason": "NotFound", "code": 404,
    })
}

/// A context over a journal in `dir`, with the tenants `acme` and `beta`, standing at a fixed time.
pub(crate) async fn context(dir: &std::path::Path, client: Client) -> (Context, Arc<TestClock>) {
    let clock = Arc::new(TestClock::at("2026-10-31T08:00:00Z".parse::<Timestamp>().unwrap()));
    let settings = Arc::new(Settings::for_tests(dir));
    let metrics = Arc::new(Metrics::new());
    let tenants = Arc::new(Tenants::default());
    for name in ["acme", "beta"] {
        let tenant = Tenant {
            namespace: name.to_owned(),
            uid: format!("uid-{name}"),
            slug: name.to_owned(),
            terminating: false,
            keeping: Keeping::For(Retention::default()),
            limits: OwnLimits::default(),
        };
        tenants.set(name, Some(tenant));
    }
    let journal = Journal::open(settings.for_journal(), Arc::clone(&clock) as Arc<dyn Clock>).await.unwrap();
    let bundles = Bundles::new(dir.join("bundles"), client.clone(), Arc::clone(&metrics));
    let context = Context {
        journal,
        bundles: Arc::new(bundles),
        events: Events::new(client.clone(), None),
        clock: Arc::clone(&clock) as Arc<dyn Clock>,
        kube: Access::untried(client),
        metrics,
        settings,
        tenants,
        clock_jump: crate::clock::ClockJump::default(),
    };
    (context, clock)
}
