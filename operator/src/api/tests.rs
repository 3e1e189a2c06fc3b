//! The API over a real TLS socket, with a real journal and an API server that answers from a function.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex};

use axum::http::{Method, Request, StatusCode};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use hyper_util::rt::TokioIo;
use jiff::{SignedDuration, Timestamp};
use ntro_bundle::reference::Digest;
use ntro_crds::names;
use ntro_journal::{CreateRun, Retention, RunPart, TestClock};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use serde_json::{Value, json};
use tokio::net::{TcpListener, TcpStream};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::{Api, router};
use crate::context::Context;
use crate::testing::runs::run_created;
use crate::testing::{Asked, api_server, context};
use crate::tls::{Authority, ServerCertificate, serve};

const NAME: &str = "ntro.ntro-system.svc";
const KEY: &str = "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8";

/// What the API server knows: pods by namespace and name, runs by namespace and name.
#[derive(Default)]
struct World {
    pods: Vec<Value>,
    runs: Vec<Value>,
}

struct Server {
    address: SocketAddr,
    ca: String,
    context: Context,
    clock: Arc<TestClock>,
    world: Arc<Mutex<World>>,
    stop: CancellationToken,
    _dir: tempfile::TempDir,
}

/// A token as the API server would sign it; the stand-in believes what it says.
fn token(namespace: &str, pod: &str) -> String {
    let claims = json!({"kubernetes.io": {"namespace": namespace, "pod": {"name": pod, "uid": format!("uid-{pod}")}}});
    format!("h.{}.s", URL_SAFE_NO_PAD.encode(claims.to_string()))
}

fn answer(world: &World, asked: &Asked) -> Option<Value> {
    if asked.path.contains("/tokenreviews") {
        let claims = asked.body["spec"]["token"].as_str()?.split('.').nth(1)?;
        let claims: Value = serde_json::from_slice(&URL_SAFE_NO_PAD.decode(claims).ok()?).ok()?;
        let claims = &claims["kubernetes.io"];
        let namespace = claims["namespace"].as_str()?;
        let asked_for = &asked.body["spec"]["audiences"];
        let ours = *asked_for == json!([format!("ntro.{namespace}")]);
        return Some(json!({"spec": {}, "status": {
            "authenticated": ours,
            "audiences": asked_for,
            "user": {
                "username": format!("system:serviceaccount:{namespace}:ntro-runner"),
                "extra": {
                    "authentication.kubernetes.io/pod-name": [claims["pod"]["name"]],
                    "authentication.kubernetes.io/pod-uid": [claims["pod"]["uid"]],
                },
            },
        }}));
    }
    let path = asked.path.split('?').next()?;
    let is = |object: &&Value| {
        let (namespace, name) = (&object["metadata"]["namespace"], &object["metadata"]["name"]);
        path.ends_with(&format!("/namespaces/{}/pods/{}", namespace.as_str().unwrap(), name.as_str().unwrap()))
            || path.ends_with(&format!(
                "/namespaces/{}/workflowruns/{}",
                namespace.as_str().unwrap(),
                name.as_str().unwrap()
            ))
    };
    world.pods.iter().chain(&world.runs).find(is).cloned()
}

impl Server {
    async fn start() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let world = Arc::new(Mutex::new(World::default()));
        let seen = Arc::clone(&world);
        let (client, _) = api_server(move |asked| answer(&seen.lock().unwrap(), asked));
        let (context, clock) = context(dir.path(), client).await;
        let authority = Authority::load_or_create(&dir.path().join("tls"), Timestamp::now()).unwrap();
        let certificate =
            ServerCertificate::new(authority, vec![NAME.to_owned()], &crate::clock::SystemClock::default()).unwrap();
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let address = listener.local_addr().unwrap();
        let stop = CancellationToken::new();
        let routes = router(Api { context: context.clone(), shutdown: stop.clone() });
        tokio::spawn(serve(listener, certificate.server_config().unwrap(), routes, stop.clone()));
        let ca = certificate.ca_pem().to_owned();
        Self { address, ca, context, clock, world, stop, _dir: dir }
    }

    async fn send(&self, method: Method, path: &str, auth: &str, body: Vec<u8>) -> (StatusCode, Vec<u8>) {
        let mut roots = rustls::RootCertStore::empty();
        roots.add(CertificateDer::from_pem_slice(self.ca.as_bytes()).unwrap()).unwrap();
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let tls = rustls::ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(roots)
            .with_no_client_auth();
        let tcp = TcpStream::connect(self.address).await.unwrap();
        let name = ServerName::try_from(NAME).unwrap();
        let stream = tokio_rustls::TlsConnector::from(Arc::new(tls)).connect(name, tcp).await.unwrap();
        let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.unwrap();
        tokio::spawn(connection);
        let request = Request::builder().method(method).uri(path).header("host", NAME).header("authorization", auth);
        let response = sender.send_request(request.body(axum::body::Body::from(body)).unwrap()).await.unwrap();
        let status = response.status();
        let body = axum::body::to_bytes(axum::body::Body::new(response.into_body()), usize::MAX).await.unwrap();
        (status, body.to_vec())
    }

    async fn post(&self, op: &str, token: &str, body: &Value) -> (StatusCode, Value) {
        let auth = format!("Bearer {token}");
        let (status, body) =
            self.send(Method::POST, &format!("/v1/pod/{op}"), &auth, body.to_string().into_bytes()).await;
        (status, serde_json::from_slice(&body).unwrap_or(Value::Null))
    }

    async fn read(&self, path: &str, key: &str) -> (StatusCode, Vec<u8>) {
        self.send(Method::GET, path, &format!("Ntro-Key {key}"), Vec::new()).await
    }

    /// A run with its first Job recorded, and that Job's pod.
    async fn run(&self, namespace: &str, name: &str) -> Uuid {
        let run_id = self.unrecorded_run(namespace, name).await;
        let journal = &self.context.journal;
        journal.job_recorded(run_id, 1, &format!("{name}-1"), &format!("job-{name}"), "h").await.unwrap();
        run_id
    }

    async fn unrecorded_run(&self, namespace: &str, name: &str) -> Uuid {
        let journal = &self.context.journal;
        let run_id = Uuid::new_v4();
        let run = CreateRun { run: run_created(run_id, namespace, name), request_hash: "r".to_owned() };
        journal.create_run(run).await.unwrap();
        self.pod(namespace, &format!("pod-{name}"), &format!("job-{name}"), run_id);
        run_id
    }

    fn pod(&self, namespace: &str, name: &str, job_uid: &str, run_id: Uuid) {
        self.world.lock().unwrap().pods.push(json!({
            "apiVersion": "v1", "kind": "Pod",
            "metadata": {
                "name": name, "namespace": namespace, "uid": format!("uid-{name}"),
                "labels": {"ntro.dev/run-id": run_id},
                "ownerReferences": [
                    {"apiVersion": "batch/v1", "kind": "Job", "name": "j", "uid": job_uid, "controller": true},
                ],
            },
            "spec": {"containers": []},
            "status": {"phase": "Running"},
        }));
    }

    async fn attach(&self, namespace: &str, name: &str) -> Value {
        let (status, reply) = self.post("attach", &token(namespace, &format!("pod-{name}")), &versions()).await;
        assert_eq!(status, StatusCode::OK, "{reply}");
        reply
    }

    /// Opens the run to a person by [`KEY`].
    async fn view(&self, run_id: Uuid) {
        let hash = Digest::of(KEY.as_bytes()).to_string();
        let until = self.context.journal.now() + SignedDuration::from_mins(10);
        self.context.journal.view(run_id, "act-view", "anna", &hash, until).await.unwrap();
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

fn versions() -> Value {
    json!({"versions": {"runtime": "0.1.0", "protocolMin": 1, "protocolMax": 1, "python": "3.11", "sdk": "0.1.2"}})
}

fn gate_entries() -> Value {
    json!([
        {"type": "stepsChanged", "command": 0, "seenUpto": 0, "steps": [{"id": "review", "status": "active"}]},
        {"type": "gateOpened", "command": 1, "seenUpto": 0, "step": "review", "kind": "review", "component": "DATA_TABLE",
         "actions": ["approve", "reject"], "content": {"inline": "{\"reason\":\"check the journal\"}"}},
    ])
}

#[tokio::test]
async fn the_pod_of_the_recorded_job_attaches_and_works() {
    let server = Server::start().await;
    server.run("acme", "nav-a").await;
    let attached = server.attach("acme", "nav-a").await;
    assert_eq!((&attached["epoch"], &attached["segment"]), (&json!(1), &json!(1)));
    assert_eq!(attached["settings"]["lingerMs"], 20_000);
    let session = attached["session"].as_str().unwrap().to_owned();
    let head = attached["entries"].as_array().unwrap().len() - 1;

    let append = json!({"epoch": 1, "head": head, "entries": gate_entries()});
    let (status, reply) = server.post("append", &session, &append).await;
    assert_eq!(status, StatusCode::OK, "{reply}");
    assert_eq!(reply["entries"].as_array().unwrap().len(), 2);
    let (status, again) = server.post("append", &session, &append).await;
    assert_eq!((status, &again), (StatusCode::OK, &reply), "a lost acknowledgement is no second command");

    let (status, polled) = server.post("poll", &session, &json!({"epoch": 1, "head": head, "waitMs": 0})).await;
    assert_eq!((status, &polled), (StatusCode::OK, &reply));
    let (status, _) = server.post("append", &session, &json!({"epoch": 2, "head": 0, "entries": []})).await;
    assert_eq!(status, StatusCode::BAD_REQUEST);

    let blob = b"some bytes".to_vec();
    let path = format!("/v1/pod/blobs/{}", Digest::of(&blob));
    let auth = format!("Bearer {session}");
    let (status, _) = server.send(Method::PUT, &path, &auth, blob.clone()).await;
    assert_eq!(status, StatusCode::OK);
    assert_eq!(server.send(Method::GET, &path, &auth, Vec::new()).await, (StatusCode::OK, blob));
    let (status, _) = server.send(Method::PUT, &path, &auth, b"other bytes".to_vec()).await;
    assert_eq!(status, StatusCode::BAD_REQUEST);
}

#[tokio::test]
async fn an_attach_before_the_job_is_recorded_is_asked_to_come_again() {
    let server = Server::start().await;
    server.unrecorded_run("acme", "nav-a").await;
    let (status, reply) = server.post("attach", &token("acme", "pod-nav-a"), &versions()).await;
    assert_eq!((status, reply["code"].as_str()), (StatusCode::SERVICE_UNAVAILABLE, Some("NotYet")));
    assert!(reply["retryAfterMs"].as_u64().unwrap() > 0);
}

#[tokio::test]
async fn strangers_are_told_nothing() {
    let server = Server::start().await;
    let run_id = server.run("acme", "nav-a").await;
    let attached = server.attach("acme", "nav-a").await;
    // A pod of another tenant that labels itself with our run, one of our tenant by another Job, one that does not exist.
    server.pod("beta", "thief", "job-nav-a", run_id);
    server.pod("acme", "other", "job-of-somebody", run_id);
    for token in [token("beta", "thief"), token("acme", "nobody"), token("gamma", "x"), "rubbish".to_owned()] {
        let (status, reply) = server.post("attach", &token, &versions()).await;
        assert_eq!((status, reply), (StatusCode::FORBIDDEN, json!({"code": "Forbidden", "message": "forbidden"})));
    }
    let (status, _) = server.post("attach", &token("acme", "other"), &versions()).await;
    assert_eq!(status, StatusCode::PRECONDITION_FAILED, "a pod of a Job that is not the recorded one is fenced");

    let session = attached["session"].as_str().unwrap();
    let forged = session.replacen(".1.", ".2.", 1);
    for token in ["", "rubbish", &forged, &token("acme", "pod-nav-a")] {
        let (status, _) = server.post("poll", token, &json!({"epoch": 1, "head": 0, "waitMs": 0})).await;
        assert_eq!(status, StatusCode::FORBIDDEN, "{token}");
    }
}

#[tokio::test]
async fn a_store_that_is_behind_what_was_published_executes_nothing() {
    let server = Server::start().await;
    let run_id = server.run("acme", "nav-a").await;
    server.world.lock().unwrap().runs.push(json!({
        "apiVersion": "ntro.dev/v1alpha1", "kind": "WorkflowRun",
        "metadata": {"name": "nav-a", "namespace": "acme"},
        "spec": {"request": {"workflowRef": {"name": "nav"}, "trigger": {"kind": "Manual", "initiator": "anna"}}},
        "status": {"runId": run_id, "journal": {"length": 40, "head": format!("hmac-sha256:{}", "0".repeat(64))}},
    }));
    let (status, _) = server.post("attach", &token("acme", "pod-nav-a"), &versions()).await;
    assert_eq!(status, StatusCode::PRECONDITION_FAILED);
    let state = server.context.journal.state(run_id).await.unwrap();
    assert_eq!(state.blocked.as_ref().unwrap().code.as_str(), "JournalBehind");
}

#[tokio::test]
async fn a_person_with_a_key_reads_and_every_read_is_journaled() {
    let server = Server::start().await;
    let run_id = server.run("acme", "nav-a").await;
    let attached = server.attach("acme", "nav-a").await;
    let session = attached["session"].as_str().unwrap().to_owned();
    let head = attached["entries"].as_array().unwrap().len() - 1;
    server.post("append", &session, &json!({"epoch": 1, "head": head, "entries": gate_entries()})).await;
    let line = json!({"n": 0, "stream": "stdout", "time": "2026-10-31T08:00:00Z", "text": "hello"});
    server.post("log", &session, &json!({"epoch": 1, "lines": [line]})).await;
    server.view(run_id).await;

    let state = server.context.journal.state(run_id).await.unwrap();
    let gate = state.gates.values().next().unwrap();
    let gate_name = names::gate("nav-a", "review", &gate.id.to_string());
    let (status, body) = server.read(&format!("/v1/runs/acme/nav-a/gates/{gate_name}"), KEY).await;
    assert_eq!(status, StatusCode::OK);
    let shown: Value = serde_json::from_slice(&body).unwrap();
    assert_eq!(shown["content"], json!({"reason": "check the journal"}));
    assert_eq!((&shown["revision"], &shown["digest"]), (&json!(1), &json!(gate.content_digest)));

    let (_, logs) = server.read("/v1/runs/acme/nav-a/logs", KEY).await;
    assert_eq!(String::from_utf8(logs).unwrap(), "2026-10-31T08:00:00Z stdout hello\n");
    let (_, other) = server.read("/v1/runs/acme/nav-a/logs?segment=2", KEY).await;
    assert!(other.is_empty());
    let (_, outputs) = server.read("/v1/runs/acme/nav-a/outputs", KEY).await;
    assert_eq!(serde_json::from_slice::<Value>(&outputs).unwrap(), json!({"outputs": []}));
    let (_, result) = server.read("/v1/runs/acme/nav-a/result", KEY).await;
    assert_eq!(serde_json::from_slice::<Value>(&result).unwrap(), json!({"phase": "Running", "result": null}));

    let draft = json!({"kind": "comment", "gate": gate_name, "content": "fine"}).to_string().into_bytes();
    let path = "/v1/runs/acme/nav-a/drafts";
    let (status, reply) = server.send(Method::POST, path, &format!("Ntro-Key {KEY}"), draft).await;
    assert_eq!(status, StatusCode::CREATED);
    let reply: Value = serde_json::from_slice(&reply).unwrap();
    assert!(reply["digest"].as_str().unwrap().starts_with("hmac-sha256:"));
    let wrong = json!({"kind": "comment", "content": {"not": "a string"}}).to_string().into_bytes();
    let (status, _) = server.send(Method::POST, path, &format!("Ntro-Key {KEY}"), wrong).await;
    assert_eq!(status, StatusCode::BAD_REQUEST);

    let (_, audit) = server.read("/v1/runs/acme/nav-a/audit", KEY).await;
    let audit = String::from_utf8(audit).unwrap();
    ntro_journal::verify(&audit).unwrap();
    let reads = audit.lines().filter(|line| line.contains("payloadRead") && line.contains("anna")).count();
    assert_eq!(reads, 5, "gate, logs, outputs, result, audit:\n{audit}");
}

#[tokio::test]
async fn a_key_opens_one_run_for_its_time_and_nothing_else() {
    let server = Server::start().await;
    let run_id = server.run("acme", "nav-a").await;
    server.run("acme", "nav-b").await;
    server.run("beta", "nav-a").await;
    server.view(run_id).await;
    let (status, _) = server.read("/v1/runs/acme/nav-a/outputs", KEY).await;
    assert_eq!(status, StatusCode::OK);
    let other_key = "BBECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8";
    let mut answers = Vec::new();
    for (path, key) in [
        ("/v1/runs/acme/nav-b/outputs", KEY),
        ("/v1/runs/beta/nav-a/outputs", KEY),
        ("/v1/runs/beta/nobody/outputs", KEY),
        ("/v1/runs/acme/nav-a/outputs", other_key),
        ("/v1/runs/acme/nav-a/outputs", "short"),
        ("/v1/runs/acme/nav-a/gates/nav-a-review-00000000", KEY),
        ("/v1/runs/acme/nav-a/outputs/none.xlsx", KEY),
        ("/v1/runs/acme/nav-a/secrets", KEY),
    ] {
        answers.push(server.read(path, key).await);
    }
    server.clock.advance(SignedDuration::from_mins(11));
    answers.push(server.read("/v1/runs/acme/nav-a/outputs", KEY).await);
    let refusal = br#"{"code":"Forbidden","message":"forbidden"}"#.to_vec();
    for answer in answers {
        assert_eq!(answer, (StatusCode::FORBIDDEN, refusal.clone()));
    }
}

#[tokio::test]
async fn a_reader_of_what_was_purged_is_told_when_and_by_which_setting() {
    let server = Server::start().await;
    let journal = &server.context.journal;
    let run_id = server.unrecorded_run("acme", "nav-a").await;
    journal.cancel(run_id, "act-cancel", "bob").await.unwrap();
    server.clock.advance(SignedDuration::from_mins(3));
    journal.collect_blobs(None).await.unwrap();
    let read = async |what: &str| {
        let (status, body) = server.read(&format!("/v1/runs/acme/nav-a/{what}"), KEY).await;
        (status, serde_json::from_slice::<Value>(&body).unwrap_or_default())
    };
    let purge = async |days: i64| {
        server.clock.advance(SignedDuration::from_hours(24 * days));
        let (hash, act) = (Digest::of(KEY.as_bytes()).to_string(), format!("act-view-{days}"));
        let until = journal.now() + SignedDuration::from_mins(10);
        journal.view(run_id, &act, "anna", &hash, until).await.unwrap();
        journal.purge(run_id, &Retention::default()).await.unwrap().unwrap()
    };
    assert_eq!(purge(30).await, RunPart::Log);
    let (status, reply) = read("logs").await;
    let log = format!("run {run_id}: its log was purged at 2026-11-30T08:03:00Z: retention.logs of the tenant was 30d");
    assert_eq!((status, reply), (StatusCode::GONE, json!({"code": "Purged", "message": log})));
    assert_eq!(read("outputs").await.0, StatusCode::OK);
    assert_eq!(purge(335).await, RunPart::Journal);
    for what in ["logs", "outputs", "steps", "result", "audit", "gates/nav-a-review-00000000", "outputs/nav.xlsx"] {
        let (status, reply) = read(what).await;
        assert_eq!((status, &reply["code"]), (StatusCode::GONE, &json!("Purged")), "{what}");
        let message = reply["message"].as_str().unwrap();
        assert!(
            message
                .ends_with("its journal was purged at 2027-10-31T08:03:00Z: retention.journal of the tenant was 365d")
        );
    }
    let (status, reply) = server.post("attach", &token("acme", "pod-nav-a"), &versions()).await;
    assert_eq!((status, &reply["code"]), (StatusCode::GONE, &json!("Purged")));
}
