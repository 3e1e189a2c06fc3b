//! Registries to test against: Debian's `docker-registry` as a child process, and a server that says what it is told.

#![allow(dead_code, reason = "each test file uses its part")]

use std::fmt::Write as _;
use std::fs;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::mpsc;
use std::time::Duration;

use ntro_bundle::credentials::Credentials;
use ntro_bundle::reference::Repository;
use ntro_bundle::registry::{Registry, RegistrySettings};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt};

/// bcrypt of `secret`, cost 5.
const HTPASSWD: &str = "alice:$2y$05$J0RdNG9U7b/tEE4V/dOtAOg14bQKU4.5V/9DNIP1pHEQuSLbUXe9G\n";

/// A running registry; killed when dropped.
pub struct DockerRegistry {
    child: Child,
    pub address: String,
    pub dir: tempfile::TempDir,
}

#[derive(Default)]
pub struct Options {
    pub password: bool,
    /// Certificate and key as PEM.
    pub tls: Option<(String, String)>,
}

impl DockerRegistry {
    pub fn start(options: &Options) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let write = |name: &str, text: &str| {
            let path = dir.path().join(name);
            fs::write(&path, text).unwrap();
            path.display().to_string()
        };
        let mut config = format!(
            "version: 0.1\nlog: {{level: info}}\nstorage:\n  filesystem: {{rootdirectory: {}}}\n",
            dir.path().join("data").display()
        );
        if options.password {
            let path = write("htpasswd", HTPASSWD);
            writeln!(config, "auth:\n  htpasswd: {{realm: test, path: {path}}}").unwrap();
        }
        config += "http:\n  addr: 127.0.0.1:0\n  secret: test\n";
        if let Some((certificate, key)) = &options.tls {
            let (certificate, key) = (write("tls.crt", certificate), write("tls.key", key));
            writeln!(config, "  tls: {{certificate: {certificate}, key: {key}}}").unwrap();
        }
        let config = write("config.yml", &config);
        let mut child = Command::new("docker-registry")
            .args(["serve", &config])
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap_or_else(|error| {
                panic!("cannot run `docker-registry` ({error}): `make unit` puts the one of `tests/cluster/cluster.sh packages` on the path")
            });
        let address = listening_address(&mut child);
        Self { child, address, dir }
    }

    pub fn repository(&self, name: &str) -> Repository {
        format!("oci://{}/{name}", self.address).parse().unwrap()
    }

    /// Where the registry keeps a repository.
    pub fn repository_dir(&self, name: &str) -> PathBuf {
        self.dir.path().join("data/docker/registry/v2/repositories").join(name)
    }

    /// Where the registry keeps the bytes of a blob.
    pub fn blob_file(&self, hex: &str) -> PathBuf {
        self.dir.path().join("data/docker/registry/v2/blobs/sha256").join(&hex[..2]).join(hex).join("data")
    }
}

impl Drop for DockerRegistry {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The address the registry says it listens on.
fn listening_address(child: &mut Child) -> String {
    let log = BufReader::new(child.stderr.take().unwrap());
    let (sender, receiver) = mpsc::channel();
    // Reads on, so that the registry never blocks on a full pipe.
    std::thread::spawn(move || {
        let mut seen = String::new();
        for line in log.lines().map_while(Result::ok) {
            if let Some((_, rest)) = line.split_once("listening on ") {
                let address: String =
                    rest.chars().take_while(|c| c.is_ascii_digit() || *c == '.' || *c == ':').collect();
                let _ = sender.send(Ok(address));
            }
            if seen.len() < 10_000 {
                seen += &line;
            }
        }
        let _ = sender.send(Err(seen));
    });
    match receiver.recv_timeout(Duration::from_secs(30)) {
        Ok(Ok(address)) => address,
        Ok(Err(log)) => panic!("docker-registry ended: {log}"),
        Err(error) => panic!("docker-registry did not start: {error}"),
    }
}

/// What a scripted server answers.
#[derive(Clone, Default)]
pub struct Answer {
    pub status: u16,
    pub headers: Vec<(&'static str, String)>,
    pub body: Vec<u8>,
}

pub fn answer(status: u16, body: impl Into<Vec<u8>>) -> Answer {
    Answer { status, headers: Vec::new(), body: body.into() }
}

/// Serves HTTP on a free port: method and path with query in, answer out. Returns its address.
pub async fn scripted(script: impl Fn(&str, &str, &str) -> Answer + Send + Sync + 'static) -> String {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let script = Arc::new(script);
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let script = Arc::clone(&script);
            tokio::spawn(async move {
                let (reader, mut writer) = stream.into_split();
                let mut lines = tokio::io::BufReader::new(reader).lines();
                let Ok(Some(request)) = lines.next_line().await else { return };
                let mut authorization = String::new();
                while let Ok(Some(line)) = lines.next_line().await {
                    if line.is_empty() {
                        break;
                    }
                    if let Some((name, value)) = line.split_once(": ")
                        && name.eq_ignore_ascii_case("authorization")
                    {
                        value.clone_into(&mut authorization);
                    }
                }
                let mut parts = request.split(' ');
                let (method, path) = (parts.next().unwrap(), parts.next().unwrap());
                let answer = script(method, path, &authorization);
                let mut head = format!("HTTP/1.1 {} X\r\nConnection: close\r\n", answer.status);
                write!(head, "Content-Length: {}\r\n", answer.body.len()).unwrap();
                for (name, value) in &answer.headers {
                    write!(head, "{name}: {value}\r\n").unwrap();
                }
                // A client may hang up on an answer it does not want.
                let _ = writer.write_all(format!("{head}\r\n").as_bytes()).await;
                if method != "HEAD" {
                    let _ = writer.write_all(&answer.body).await;
                }
            });
        }
    });
    address
}

pub fn install_tls_provider() {
    // Another test of this process may have been first.
    let _ = rustls::crypto::ring::default_provider().install_default();
}

pub fn settings() -> RegistrySettings {
    RegistrySettings { plain_http: true, timeout: Duration::from_secs(20), ..RegistrySettings::default() }
}

pub fn client(settings: RegistrySettings) -> Registry {
    install_tls_provider();
    Registry::new(settings).unwrap()
}

pub fn basic(username: &str, password: &str) -> Credentials {
    Credentials::Basic { username: username.to_owned(), password: password.to_owned() }
}

/// Writes a small bundle; `extra` goes into its frontmatter and `text` into a data file.
pub fn write_bundle(dir: &Path, version: &str, extra: &str, text: &str) {
    let runbook =
        format!("---\nslug: demo\nname: Demo\nversion: {version}\nstate: DRAFT\nauthor: Us\n{extra}---\nDemo.\n");
    for (path, text) in [
        ("runbook.md", runbook.as_str()),
        ("templates/__init__.py", ""),
        ("templates/workflow.py", "class DemoWorkflow(NtroWorkflow):\n    pass\n"),
        ("templates/activities.py", ""),
        ("data/x.csv", text),
    ] {
        let path = dir.join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }
}
