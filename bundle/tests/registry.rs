//! Push, pull, resolve and list against a real registry.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests fail by panicking")]

mod support;

use std::fs;
use std::path::Path;

use bytes::Bytes;
use flate2::{Compression, write::GzEncoder};
use ntro_bundle::artifact::{BundleConfig, LAYER_MEDIA_TYPE};
use ntro_bundle::credentials;
use ntro_bundle::error::BundleErrorClass;
use ntro_bundle::limits::BundleLimits;
use ntro_bundle::pack::{PackedBundle, pack};
use ntro_bundle::reference::{Digest, Tag};
use ntro_bundle::registry::{Overwrite, Registry, RegistryError, RegistrySettings};
use ntro_bundle::unpack::unpack;
use support::{DockerRegistry, Options, basic, client, settings, write_bundle};

fn packed(version: &str, extra: &str, text: &str) -> PackedBundle {
    let dir = tempfile::tempdir().unwrap();
    write_bundle(dir.path(), version, extra, text);
    pack(dir.path()).unwrap()
}

fn tag(text: &str) -> Tag {
    text.parse().unwrap()
}

/// Class, reason and message; every message is one line.
fn describe<T>(result: Result<T, RegistryError>) -> (BundleErrorClass, &'static str, String) {
    let Err(error) = result else { panic!("no error") };
    let message = error.to_string();
    assert!(!message.contains('\n'), "{message}");
    (error.class(), error.reason(), message)
}

#[tokio::test]
async fn a_pushed_bundle_is_pulled_unchanged() {
    let server = DockerRegistry::start(&Options::default());
    let (registry, repository) = (client(settings()), server.repository("acme/demo"));
    let bundle = packed("1.0.0+build.5", "", "1");
    let version = tag("1.0.0_build.5");
    let pushed = registry.push(&repository, &version, &bundle, Overwrite::Refuse).await.unwrap();
    assert_eq!((&pushed.digest, pushed.written), (&bundle.digest, true));

    assert_eq!(registry.resolve(&repository, &version).await.unwrap(), bundle.digest);
    assert_eq!(registry.tags(&repository).await.unwrap(), [version]);
    assert_eq!(registry.inspect(&repository, &bundle.digest).await.unwrap(), bundle.config);
    let pulled = registry.pull(&repository, &bundle.digest).await.unwrap();
    assert_eq!((pulled.layer, pulled.layer_digest), (bundle.layer, bundle.layer_digest));

    let out = tempfile::tempdir().unwrap();
    let target = out.path().join("demo");
    unpack(
        &registry.pull(&repository, &bundle.digest).await.unwrap().layer,
        &pulled.config.content_digest,
        &target,
        &BundleLimits::default(),
    )
    .unwrap();
    assert_eq!(pack(&target).unwrap().digest, bundle.digest);
}

#[tokio::test]
async fn versions_are_immutable_and_pushing_the_same_again_does_nothing() {
    let server = DockerRegistry::start(&Options::default());
    let (registry, repository) = (client(settings()), server.repository("demo"));
    let (first, second) = (packed("1.0.0", "", "1"), packed("1.0.0", "", "2"));
    let version = tag("1.0.0");
    registry.push(&repository, &version, &first, Overwrite::Refuse).await.unwrap();
    let again = registry.push(&repository, &version, &first, Overwrite::Refuse).await.unwrap();
    assert_eq!((again.digest, again.written), (first.digest.clone(), false));

    let (class, reason, message) = describe(registry.push(&repository, &version, &second, Overwrite::Refuse).await);
    assert_eq!((class, reason), (BundleErrorClass::Invalid, "VersionExists"));
    assert!(message.contains("increase `version` in runbook.md"), "{message}");
    assert_eq!(registry.resolve(&repository, &version).await.unwrap(), first.digest);

    // The same files from another compressor are the same content.
    let recompressed = recompress(&first);
    assert_ne!(recompressed.digest, first.digest);
    let same = registry.push(&repository, &version, &recompressed, Overwrite::Refuse).await.unwrap();
    assert_eq!((same.digest, same.written), (first.digest.clone(), false));

    assert!(registry.push(&repository, &version, &second, Overwrite::Force).await.unwrap().written);
    assert_eq!(registry.resolve(&repository, &version).await.unwrap(), second.digest);
    // A run that pinned the first digest still finds it.
    assert_eq!(registry.pull(&repository, &first.digest).await.unwrap().config, first.config);

    for bundle in [&first, &second] {
        registry.push(&repository, &tag("latest"), bundle, Overwrite::Refuse).await.unwrap();
        assert_eq!(registry.resolve(&repository, &tag("latest")).await.unwrap(), bundle.digest);
    }
    let (class, reason, _) = describe(registry.push(&repository, &tag("2.0.0"), &first, Overwrite::Force).await);
    assert_eq!((class, reason), (BundleErrorClass::Invalid, "TagMismatch"));
}

#[tokio::test]
async fn only_the_right_password_opens_a_closed_registry() {
    let server = DockerRegistry::start(&Options { password: true, ..Options::default() });
    let (repository, bundle, version) = (server.repository("demo"), packed("1.0.0", "", "1"), tag("1.0.0"));
    let with = |credentials| client(RegistrySettings { credentials, ..settings() });
    let alice = with(basic("alice", "secret"));
    alice.push(&repository, &version, &bundle, Overwrite::Refuse).await.unwrap();
    assert_eq!(alice.pull(&repository, &bundle.digest).await.unwrap().config, bundle.config);

    for (registry, what) in [
        (with(basic("alice", "wrong")), "refused the credentials"),
        (with(basic("mallory", "secret")), "refused the credentials"),
        (with(credentials::Credentials::Anonymous), "refused the request without credentials"),
    ] {
        for outcome in [
            describe(registry.resolve(&repository, &version).await),
            describe(registry.tags(&repository).await),
            describe(registry.inspect(&repository, &bundle.digest).await),
            describe(registry.pull(&repository, &bundle.digest).await),
            describe(registry.push(&repository, &version, &bundle, Overwrite::Refuse).await),
        ] {
            let (class, reason, message) = outcome;
            assert_eq!((class, reason), (BundleErrorClass::Waiting, "AuthenticationFailed"), "{message}");
            assert!(message.contains(what) && !message.contains("secret"), "{message}");
        }
    }
}

#[tokio::test]
async fn a_registry_that_is_down_is_unreachable() {
    let address = {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        listener.local_addr().unwrap()
    };
    let repository = format!("oci://{address}/demo").parse().unwrap();
    let (class, reason, message) = describe(client(settings()).resolve(&repository, &tag("1.0.0")).await);
    assert_eq!((class, reason), (BundleErrorClass::Transient, "RegistryUnreachable"));
    assert!(message.starts_with(&format!("cannot reach registry {address}: ")), "{message}");
    assert!(message.to_lowercase().contains("refused"), "{message}");
}

#[tokio::test]
async fn a_registry_that_comes_back_is_found_by_the_same_client() {
    let server = DockerRegistry::start(&Options::default());
    let (registry, repository) = (client(settings()), server.repository("demo"));
    let bundle = packed("1.0.0", "", "1");
    registry.push(&repository, &tag("1.0.0"), &bundle, Overwrite::Refuse).await.unwrap();
    drop(server);
    assert_eq!(describe(registry.resolve(&repository, &tag("1.0.0")).await).1, "RegistryUnreachable");
    let server = DockerRegistry::start(&Options::default());
    let repository = server.repository("demo");
    registry.push(&repository, &tag("1.0.0"), &bundle, Overwrite::Refuse).await.unwrap();
}

#[tokio::test]
async fn what_is_not_there_is_waited_for() {
    let server = DockerRegistry::start(&Options::default());
    let (registry, repository) = (client(settings()), server.repository("demo"));
    let bundle = packed("1.0.0", "", "1");
    registry.push(&repository, &tag("1.0.0"), &bundle, Overwrite::Refuse).await.unwrap();
    let nowhere = server.repository("nowhere");
    let unknown = Digest::of(b"unknown");
    for (outcome, shown) in [
        (describe(registry.resolve(&repository, &tag("2.0.0")).await), format!("{repository}:2.0.0 not found")),
        (describe(registry.resolve(&nowhere, &tag("1.0.0")).await), format!("{nowhere}:1.0.0 not found")),
        (describe(registry.tags(&nowhere).await), format!("{nowhere} not found")),
        (describe(registry.pull(&repository, &unknown).await), format!("{repository}@{unknown} not found")),
    ] {
        assert_eq!(outcome, (BundleErrorClass::Waiting, "NotFound", shown));
    }
}

#[tokio::test]
async fn long_tag_lists_are_read_to_the_end() {
    let server = DockerRegistry::start(&Options::default());
    let (registry, repository) = (client(settings()), server.repository("demo"));
    let bundle = packed("1.0.0", "", "1");
    registry.push(&repository, &tag("1.0.0"), &bundle, Overwrite::Refuse).await.unwrap();
    for patch in 1..2500 {
        let dir = server.repository_dir("demo").join(format!("_manifests/tags/1.0.{patch}/current"));
        fs::create_dir_all(&dir).unwrap();
        fs::write(dir.join("link"), bundle.digest.as_str()).unwrap();
    }
    let mut tags = registry.tags(&repository).await.unwrap();
    tags.sort();
    tags.dedup();
    assert_eq!(tags.len(), 2500);
}

#[tokio::test]
async fn an_archive_that_leaves_its_directory_is_not_pulled() {
    let server = DockerRegistry::start(&Options::default());
    let (registry, repository) = (client(settings()), server.repository("demo"));
    let good = packed("1.0.0", "", "1");
    let mut tar = decompress(&good.layer);
    tar.truncate(tar.len() - 1024);
    let mut header = tar::Header::new_ustar();
    header.set_size(4);
    header.set_entry_type(tar::EntryType::Regular);
    header.as_mut_bytes()[..10].copy_from_slice(b"../../evil");
    header.set_cksum();
    tar.extend_from_slice(header.as_bytes());
    tar.extend_from_slice(b"evil");
    tar.resize(tar.len().next_multiple_of(512) + 1024, 0);
    let config = BundleConfig { content_digest: Digest::of(&tar), ..good.config.clone() };
    let evil = assemble(&good, &config, &compress(&tar));
    registry.push(&repository, &tag("1.0.0"), &evil, Overwrite::Refuse).await.unwrap();
    let (class, reason, message) = describe(registry.pull(&repository, &evil.digest).await);
    assert_eq!((class, reason), (BundleErrorClass::Invalid, "ArchiveUnsafe"));
    assert!(message.contains("archive entry `../../evil` has a `..`"), "{message}");
}

#[tokio::test]
async fn a_description_that_lies_about_its_content_is_refused() {
    let server = DockerRegistry::start(&Options::default());
    let (registry, repository) = (client(settings()), server.repository("demo"));
    let good = packed("1.0.0", "steps: [{id: review}]\nactivities: {post: {requires: review}}\n", "1");
    let without_policy = BundleConfig { activities: std::collections::BTreeMap::new(), ..good.config.clone() };
    let other_content = BundleConfig { content_digest: Digest::of(b"other"), ..good.config.clone() };
    for (config, reason, expected) in [
        (without_policy, "ManifestInvalid", "differs from the bundle's runbook.md in `activities`"),
        (other_content, "DigestMismatch", "has digest"),
    ] {
        let lie = assemble(&good, &config, &good.layer);
        registry.push(&repository, &tag("1.0.0"), &lie, Overwrite::Force).await.unwrap();
        let (class, found, message) = describe(registry.pull(&repository, &lie.digest).await);
        assert_eq!((class, found), (BundleErrorClass::Invalid, reason), "{message}");
        assert!(message.contains(expected), "{message}");
    }
}

#[tokio::test]
async fn other_artifacts_are_refused_by_what_they_are() {
    let server = DockerRegistry::start(&Options::default());
    let (registry, repository) = (client(settings()), server.repository("demo"));
    let mut other = packed("1.0.0", "", "1");
    let text = String::from_utf8(other.manifest_bytes.to_vec()).unwrap();
    let text = text.replace(LAYER_MEDIA_TYPE, "application/vnd.oci.image.layer.v1.tar+gzip");
    other.manifest_bytes = Bytes::from(text);
    other.digest = Digest::of(&other.manifest_bytes);
    registry.push(&repository, &tag("1.0.0"), &other, Overwrite::Refuse).await.unwrap();
    let digest = registry.resolve(&repository, &tag("1.0.0")).await.unwrap();
    let (class, reason, message) = describe(registry.inspect(&repository, &digest).await);
    assert_eq!((class, reason), (BundleErrorClass::Invalid, "ManifestInvalid"));
    assert!(message.contains("layer media type is `application/vnd.oci.image.layer.v1.tar+gzip`"), "{message}");
    // A bundle does not silently replace it under the same version.
    let bundle = packed("1.0.0", "", "1");
    assert_eq!(
        describe(registry.push(&repository, &tag("1.0.0"), &bundle, Overwrite::Refuse).await).1,
        "VersionExists"
    );
}

#[tokio::test]
async fn bytes_changed_in_the_registry_are_noticed() {
    let server = DockerRegistry::start(&Options::default());
    let (registry, repository) = (client(settings()), server.repository("demo"));
    let bundle = packed("1.0.0", "", "1");
    registry.push(&repository, &tag("1.0.0"), &bundle, Overwrite::Refuse).await.unwrap();
    let file = server.blob_file(bundle.layer_digest.hex());
    let mut bytes = fs::read(&file).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    fs::write(&file, bytes).unwrap();
    let (class, reason, message) = describe(registry.pull(&repository, &bundle.digest).await);
    assert_eq!((class, reason), (BundleErrorClass::Transient, "DigestMismatch"), "{message}");
}

#[tokio::test]
async fn bundles_above_the_limit_are_refused_before_they_are_fetched() {
    let server = DockerRegistry::start(&Options::default());
    let repository = server.repository("demo");
    let bundle = packed("1.0.0", "", "1");
    client(settings()).push(&repository, &tag("1.0.0"), &bundle, Overwrite::Refuse).await.unwrap();
    let small = RegistrySettings { limits: BundleLimits { compressed: 10, ..BundleLimits::default() }, ..settings() };
    let (class, reason, message) = describe(client(small).pull(&repository, &bundle.digest).await);
    assert_eq!((class, reason), (BundleErrorClass::Invalid, "ManifestInvalid"));
    assert!(message.contains("at most 10 are allowed"), "{message}");
}

#[tokio::test]
async fn tls_needs_the_registrys_authority() {
    let certified = rcgen::generate_simple_self_signed(vec!["127.0.0.1".to_owned()]).unwrap();
    let pem = certified.cert.pem();
    let tls = Some((pem.clone(), certified.signing_key.serialize_pem()));
    let server = DockerRegistry::start(&Options { tls, ..Options::default() });
    let (repository, bundle, version) = (server.repository("demo"), packed("1.0.0", "", "1"), tag("1.0.0"));
    let with = |ca_pem: Option<String>| {
        client(RegistrySettings { plain_http: false, ca_pem: ca_pem.map(String::into_bytes), ..settings() })
    };
    let trusting = with(Some(format!("# ours\n{pem}")));
    trusting.push(&repository, &version, &bundle, Overwrite::Refuse).await.unwrap();
    assert_eq!(trusting.pull(&repository, &bundle.digest).await.unwrap().digest, bundle.digest);
    let (class, reason, message) = describe(with(None).resolve(&repository, &version).await);
    assert_eq!((class, reason), (BundleErrorClass::Transient, "RegistryUnreachable"));
    assert!(message.contains("certificate"), "{message}");
    let broken = RegistrySettings { ca_pem: Some(b"no pem".to_vec()), ..settings() };
    assert_eq!(describe(Registry::new(broken)).1, "RegistrySettingsInvalid");
}

#[tokio::test]
async fn the_example_runbook_goes_through_a_registry() {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("../examples/runbooks/nav-monthly");
    let bundle = pack(&dir).unwrap();
    assert_eq!(bundle.warnings, []);
    let server = DockerRegistry::start(&Options::default());
    let (registry, repository) = (client(settings()), server.repository("nav-monthly"));
    let version = Tag::from_version(&bundle.config.version).unwrap();
    registry.push(&repository, &version, &bundle, Overwrite::Refuse).await.unwrap();
    // On another thread, as servers do.
    let pulled = tokio::spawn(async move { registry.pull(&repository, &bundle.digest).await }).await.unwrap().unwrap();
    assert_eq!(pulled.config.workflow_class, "NavMonthlyWorkflow");
}

fn compress(bytes: &[u8]) -> Vec<u8> {
    use std::io::Write as _;
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

fn decompress(bytes: &[u8]) -> Vec<u8> {
    use std::io::Read as _;
    let mut out = Vec::new();
    flate2::read::GzDecoder::new(bytes).read_to_end(&mut out).unwrap();
    out
}

fn recompress(bundle: &PackedBundle) -> PackedBundle {
    assemble(bundle, &bundle.config, &compress(&decompress(&bundle.layer)))
}

/// An artifact with other parts, its digests in order.
fn assemble(bundle: &PackedBundle, config: &BundleConfig, layer: &[u8]) -> PackedBundle {
    let config_bytes = serde_json::to_vec(config).unwrap();
    let mut manifest: serde_json::Value = serde_json::from_slice(&bundle.manifest_bytes).unwrap();
    for (pointer, bytes) in [("/config", config_bytes.as_slice()), ("/layers/0", layer)] {
        let descriptor = manifest.pointer_mut(pointer).unwrap();
        descriptor["digest"] = serde_json::json!(Digest::of(bytes));
        descriptor["size"] = serde_json::json!(bytes.len());
    }
    let manifest_bytes = Bytes::from(manifest.to_string());
    PackedBundle {
        config: config.clone(),
        config_bytes: config_bytes.into(),
        layer: Bytes::copy_from_slice(layer),
        layer_digest: Digest::of(layer),
        digest: Digest::of(&manifest_bytes),
        manifest_bytes,
        ..bundle.clone()
    }
}
