use std::fs;

use super::*;
use crate::unpack;

/// A small bundle, written in an order and with modes that must not matter.
pub(crate) fn bundle(dir: &Path) {
    let runbook = "---\nslug: demo\nname: Demo\nversion: 1.0.0\nstate: DRAFT\nauthor: Us\n---\nDemo.\n";
    for (path, text) in [
        ("templates/workflow.py", "class DemoWorkflow(NtroWorkflow):\n    pass\n"),
        ("data/2026-10/tb.csv", "account,amount\n1000,1.00\n"),
        ("runbook.md", runbook),
        ("templates/activities.py", ""),
        ("templates/__init__.py", ""),
        ("data.txt", "x"),
    ] {
        let path = dir.join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }
}

#[test]
fn equal_files_give_equal_bytes() {
    let (first, second) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    bundle(first.path());
    bundle(second.path());
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        fs::set_permissions(second.path().join("data.txt"), fs::Permissions::from_mode(0o700)).unwrap();
    }
    fs::create_dir_all(second.path().join("empty/__pycache__")).unwrap();
    fs::write(second.path().join("empty/__pycache__/x.pyc"), "x").unwrap();
    let old = fs::File::open(second.path().join("runbook.md")).unwrap();
    old.set_modified(std::time::UNIX_EPOCH).unwrap();
    let (first, second) = (pack(first.path()).unwrap(), pack(second.path()).unwrap());
    assert_eq!(first.digest, second.digest);
    assert_eq!(first.layer, second.layer);
}

/// If this fails, bundles that did not change get another digest: change it knowingly, and say so to users.
#[test]
fn digests_are_stable() {
    let dir = tempfile::tempdir().unwrap();
    bundle(dir.path());
    let packed = pack(dir.path()).unwrap();
    insta::assert_snapshot!(packed.config.content_digest, @r#"sha256:9b1d1ebcb0e144b21419512d498a82be249d7d613c063788e76eaedc4ef500eb"#);
    insta::assert_snapshot!(packed.layer_digest, @r#"sha256:b0bf83374f7c6e7acf31e8e4faa4bc6050158108ddc4d7e354db23184b61b998"#);
    insta::assert_snapshot!(packed.digest, @r#"sha256:7deb0195fe53d4d50ba06fc635954723454897c7adac38147a9b093bab554e93"#);
    insta::assert_snapshot!(String::from_utf8(packed.config_bytes.to_vec()).unwrap(), @r#"{"id":"rb-demo","slug":"demo","name":"Demo","version":"1.0.0","steps":[],"activities":{},"outputs":[],"workflowClass":"DemoWorkflow","contentDigest":"sha256:9b1d1ebcb0e144b21419512d498a82be249d7d613c063788e76eaedc4ef500eb"}"#);
    insta::assert_snapshot!(String::from_utf8(packed.manifest_bytes.to_vec()).unwrap(), @r#"{"schemaVersion":2,"mediaType":"application/vnd.oci.image.manifest.v1+json","artifactType":"application/vnd.ntro.runbook.v1","config":{"mediaType":"application/vnd.ntro.runbook.config.v1+json","digest":"sha256:cd995179e04dcd283976d18d6ce0ab958074099e6030c02cfcb829eab600c350","size":223},"layers":[{"mediaType":"application/vnd.ntro.runbook.content.v1.tar+gzip","digest":"sha256:b0bf83374f7c6e7acf31e8e4faa4bc6050158108ddc4d7e354db23184b61b998","size":388,"annotations":{"org.opencontainers.image.title":"demo-1.0.0.tar.gz"}}],"annotations":{"org.opencontainers.image.authors":"Us","org.opencontainers.image.title":"Demo","org.opencontainers.image.version":"1.0.0"}}"#);
}

#[test]
fn entries_have_fixed_owners_modes_and_times_and_come_in_order() {
    let dir = tempfile::tempdir().unwrap();
    bundle(dir.path());
    let packed = pack(dir.path()).unwrap();
    let mut archive = tar::Archive::new(flate2::read::GzDecoder::new(packed.layer.as_ref()));
    let entries: Vec<_> = archive
        .entries()
        .unwrap()
        .map(|entry| {
            let entry = entry.unwrap();
            let header = entry.header();
            assert_eq!((header.uid().unwrap(), header.gid().unwrap(), header.mtime().unwrap()), (0, 0, MTIME));
            assert!(header.username_bytes().unwrap_or_default().is_empty());
            (String::from_utf8(entry.path_bytes().to_vec()).unwrap(), header.mode().unwrap())
        })
        .collect();
    let entries: Vec<_> = entries.iter().map(|(path, mode)| (path.as_str(), *mode)).collect();
    assert_eq!(
        entries,
        [
            ("data.txt", 0o644),
            ("data/", 0o755),
            ("data/2026-10/", 0o755),
            ("data/2026-10/tb.csv", 0o644),
            ("runbook.md", 0o644),
            ("templates/", 0o755),
            ("templates/__init__.py", 0o644),
            ("templates/activities.py", 0o644),
            ("templates/workflow.py", 0o644),
        ]
    );
}

#[test]
fn an_invalid_bundle_is_not_packed_and_the_error_is_one_line() {
    let dir = tempfile::tempdir().unwrap();
    bundle(dir.path());
    fs::remove_file(dir.path().join("templates/workflow.py")).unwrap();
    fs::remove_file(dir.path().join("templates/activities.py")).unwrap();
    let error = pack(dir.path()).unwrap_err();
    assert_eq!(error.reason(), "BundleInvalid");
    assert_eq!(error.to_string(), "templates/workflow.py: WORKFLOW_PY_MISSING: the file is missing (and 1 more)");
}

#[test]
fn what_was_packed_unpacks_to_the_same_files() {
    let (dir, out) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    bundle(dir.path());
    let long = format!("data/{}/{}.csv", "d".repeat(150), "f".repeat(150));
    fs::create_dir_all(dir.path().join(&long).parent().unwrap()).unwrap();
    fs::write(dir.path().join(&long), "long").unwrap();
    let packed = pack(dir.path()).unwrap();
    let target = out.path().join("bundle");
    unpack::unpack(&packed.layer, &packed.config.content_digest, &target, &BundleLimits::default()).unwrap();
    for file in &packed.files {
        assert_eq!(fs::read(target.join(&file.path)).unwrap(), fs::read(&file.source).unwrap(), "{}", file.path);
    }
    assert_eq!(fs::read_to_string(target.join(long)).unwrap(), "long");
    assert_eq!(pack(&target).unwrap().digest, packed.digest);
}
