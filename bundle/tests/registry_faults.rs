//! Registries that misbehave, played by a server that answers as scripted.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests fail by panicking")]

mod support;

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use ntro_bundle::error::BundleErrorClass;
use ntro_bundle::reference::{Digest, Repository, Tag};
use ntro_bundle::registry::RegistrySettings;
use support::{Answer, answer, basic, client, scripted, settings};

fn repository(address: &str) -> Repository {
    format!("oci://{address}/demo").parse().unwrap()
}

fn tag() -> Tag {
    "1.0.0".parse().unwrap()
}

fn with(mut answer: Answer, name: &'static str, value: &str) -> Answer {
    answer.headers.push((name, value.to_owned()));
    answer
}

#[tokio::test]
async fn a_busy_registry_is_asked_again() {
    for status in [429, 500, 503] {
        let asked = Arc::new(AtomicUsize::new(0));
        let count = Arc::clone(&asked);
        let address = scripted(move |method, _, _| match (method, count.load(Ordering::SeqCst)) {
            ("HEAD", 2..) => with(answer(200, ""), "Docker-Content-Digest", Digest::of(b"x").as_str()),
            ("HEAD", _) => {
                count.fetch_add(1, Ordering::SeqCst);
                answer(status, "")
            }
            _ => answer(200, "{}"),
        })
        .await;
        let digest = client(settings()).resolve(&repository(&address), &tag()).await.unwrap();
        assert_eq!((digest, asked.load(Ordering::SeqCst)), (Digest::of(b"x"), 2), "{status}");
    }
}

#[tokio::test]
async fn a_registry_that_stays_busy_is_given_up() {
    let asked = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&asked);
    let address = scripted(move |method, _, _| {
        if method == "HEAD" {
            count.fetch_add(1, Ordering::SeqCst);
            return answer(503, "");
        }
        answer(200, "{}")
    })
    .await;
    let error = client(settings()).resolve(&repository(&address), &tag()).await.unwrap_err();
    assert_eq!((error.class(), error.reason()), (BundleErrorClass::Transient, "RegistryUnavailable"));
    assert_eq!(error.to_string(), format!("registry {address} is unavailable: HTTP status 503"));
    assert_eq!(asked.load(Ordering::SeqCst), 4);
}

#[tokio::test]
async fn a_silent_registry_is_unreachable_in_time() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let patient = RegistrySettings { timeout: Duration::from_millis(300), ..settings() };
    let error = client(patient).resolve(&repository(&address), &tag()).await.unwrap_err();
    assert_eq!(error.reason(), "RegistryUnreachable");
    assert!(error.to_string().contains("did not answer"), "{error}");
}

#[tokio::test]
async fn pages_of_tags_are_followed_by_link() {
    let address = scripted(|_, path, _| match path {
        "/v2/" => answer(200, "{}"),
        path if path.contains("last=b") => answer(200, r#"{"name":"demo","tags":["c","not a tag"]}"#),
        path if path.contains("last=") => panic!("{path}"),
        _ => with(
            answer(200, r#"{"name":"demo","tags":["a","b"]}"#),
            "Link",
            "</v2/demo/tags/list?n=2&last=b>; rel=\"next\"",
        ),
    })
    .await;
    let tags = client(settings()).tags(&repository(&address)).await.unwrap();
    assert_eq!(tags.iter().map(Tag::as_str).collect::<Vec<_>>(), ["a", "b", "c"]);
}

#[tokio::test]
async fn a_full_page_without_a_link_is_not_believed_to_be_the_last() {
    let page = |from: usize, to: usize| {
        let tags: Vec<String> = (from..to).map(|n| format!("\"t{n:05}\"")).collect();
        answer(200, format!("{{\"name\":\"demo\",\"tags\":[{}]}}", tags.join(",")))
    };
    let address = scripted(move |_, path, _| match path.split_once("last=t") {
        _ if path == "/v2/" => answer(200, "{}"),
        None => page(0, 1000),
        Some((_, "00999")) => page(1000, 2000),
        Some((_, "01999")) => page(2000, 2003),
        Some((_, other)) => panic!("{other}"),
    })
    .await;
    assert_eq!(client(settings()).tags(&repository(&address)).await.unwrap().len(), 2003);
}

#[tokio::test]
async fn a_repository_without_tags_has_none() {
    let address = scripted(|_, _, _| answer(200, r#"{"name":"demo","tags":null}"#)).await;
    assert_eq!(client(settings()).tags(&repository(&address)).await.unwrap(), []);
}

#[tokio::test]
async fn credentials_do_not_follow_a_link_elsewhere() {
    let address = scripted(|_, path, _| match path {
        "/v2/" => answer(200, "{}"),
        _ => with(answer(200, r#"{"tags":["a"]}"#), "Link", "<http://127.0.0.1:1/v2/demo/tags/list>; rel=\"next\""),
    })
    .await;
    let alice = client(RegistrySettings { credentials: basic("alice", "secret"), ..settings() });
    let error = alice.tags(&repository(&address)).await.unwrap_err();
    assert_eq!(error.reason(), "RegistryProtocol");
}

#[tokio::test]
async fn endless_answers_are_cut_off() {
    let address = scripted(|_, path, _| match path {
        "/v2/" => answer(200, "{}"),
        path if path.contains("tags") => answer(200, vec![b' '; 5 << 20]),
        _ => answer(200, vec![b' '; 1 << 20]),
    })
    .await;
    let registry = client(settings());
    for error in [
        registry.tags(&repository(&address)).await.unwrap_err(),
        registry.inspect(&repository(&address), &Digest::of(b"x")).await.unwrap_err(),
    ] {
        assert_eq!(error.reason(), "RegistryProtocol");
        assert!(error.to_string().contains("more than"), "{error}");
    }
}

#[tokio::test]
async fn another_manifest_than_asked_for_is_refused() {
    let address = scripted(|_, _, _| answer(200, "{}")).await;
    let error = client(settings()).pull(&repository(&address), &Digest::of(b"x")).await.unwrap_err();
    assert_eq!((error.class(), error.reason()), (BundleErrorClass::Transient, "DigestMismatch"));
}

#[tokio::test]
async fn tokens_are_fetched_with_the_credentials_and_a_refusal_is_reported() {
    // The token server: `alice` with `secret` gets one.
    let tokens = scripted(|_, path, authorization| {
        assert!(path.starts_with("/token?scope=repository%3Ademo%3Apull"), "{path}");
        match authorization {
            "Basic YWxpY2U6c2VjcmV0" => answer(200, r#"{"token":"t0ken"}"#),
            _ => answer(401, "no"),
        }
    })
    .await;
    let challenge = format!("Bearer realm=\"http://{tokens}/token\",service=\"test\"");
    let address = scripted(move |_, path, authorization| match (path, authorization) {
        ("/v2/", _) => with(answer(401, ""), "WWW-Authenticate", &challenge),
        (_, "Bearer t0ken") => with(answer(200, ""), "Docker-Content-Digest", Digest::of(b"x").as_str()),
        _ => answer(401, ""),
    })
    .await;
    let resolve = async |password| {
        let registry = client(RegistrySettings { credentials: basic("alice", password), ..settings() });
        registry.resolve(&repository(&address), &tag()).await
    };
    assert_eq!(resolve("secret").await.unwrap(), Digest::of(b"x"));
    assert_eq!(resolve("wrong").await.unwrap_err().reason(), "AuthenticationFailed");
}
