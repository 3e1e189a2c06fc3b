//! Command line and environment of the operator. Everything is checked here, before anything starts.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use clap::{Args as ClapArgs, Parser, Subcommand, ValueEnum};
use ntro_crds::quantity::bytes;

/// Runs versioned Python runbooks on Kubernetes.
#[derive(Debug, Parser)]
#[command(name = "ntro-operator", version, about, max_term_width = 120)]
pub(crate) struct Args {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// What the binary can do.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Run the operator
    Run(Box<Settings>),
    /// Print the custom resource definitions as YAML
    Crds,
}

/// Settings of the operator, as flags or environment variables.
#[derive(Debug, Clone, ClapArgs)]
pub(crate) struct Settings {
    /// Directory of the journal, blobs, bundles and keys; must be on a local disk that outlives the pod
    #[arg(long, env = "NTRO_DATA_DIR", default_value = "/var/lib/ntro")]
    pub data_dir: PathBuf,

    /// Namespace the operator runs in
    #[arg(long, env = "NTRO_NAMESPACE", value_parser = dns_label)]
    pub namespace: String,

    /// Name of the operator's pod, shown as the reporter of events
    #[arg(long, env = "NTRO_POD_NAME", value_parser = non_empty)]
    pub pod_name: Option<String>,

    /// Name of the Service in front of the API
    #[arg(long, env = "NTRO_SERVICE_NAME", default_value = "ntro", value_parser = dns_label)]
    pub service_name: String,

    /// Port of the Service in front of the API
    #[arg(long, env = "NTRO_SERVICE_PORT", default_value_t = 8443)]
    pub service_port: u16,

    /// Address of the API for runner pods and readers
    #[arg(long, env = "NTRO_API_ADDR", default_value = "0.0.0.0:8443")]
    pub api_addr: SocketAddr,

    /// Address of /live, /ready and /metrics
    #[arg(long, env = "NTRO_HEALTH_ADDR", default_value = "0.0.0.0:8444")]
    pub health_addr: SocketAddr,

    /// Image of runner pods, as `repository@sha256:…`; workflows may name their own
    #[arg(long, env = "NTRO_RUNNER_IMAGE", default_value = "")]
    pub runner_image: String,

    /// Which namespaces to serve: all labelled tenants of the cluster, or only the operator's own
    #[arg(long, env = "NTRO_SCOPE", default_value = "cluster")]
    pub scope: Scope,

    /// How long a pod may be silent before it counts as unreachable, in milliseconds
    #[arg(long, env = "NTRO_LEASE_MS", default_value = "30000", value_parser = millis)]
    pub lease: Duration,

    /// How long a waiting pod stays before its Job ends, in milliseconds
    #[arg(long, env = "NTRO_LINGER_MS", default_value = "20000", value_parser = millis_or_zero)]
    pub linger: Duration,

    /// How long a pod waits for an operator that does not answer, in milliseconds
    #[arg(long, env = "NTRO_OUTAGE_WAIT_MS", default_value = "900000", value_parser = millis)]
    pub outage_wait: Duration,

    /// How long the activities of a cancelled run may go on, in milliseconds
    #[arg(long, env = "NTRO_CANCEL_GRACE_MS", default_value = "30000", value_parser = millis_or_zero)]
    pub cancel_grace: Duration,

    /// Bytes of a run's journal, blobs aside, from which it is blocked
    #[arg(long, env = "NTRO_RUN_JOURNAL_BYTES", default_value = "64Mi", value_parser = bytes)]
    pub run_journal_bytes: u64,

    /// Bytes of a run's blobs: results and files
    #[arg(long, env = "NTRO_RUN_BLOB_BYTES", default_value = "1Gi", value_parser = bytes)]
    pub run_blob_bytes: u64,

    /// Bytes of a run's log; lines after that are dropped
    #[arg(long, env = "NTRO_RUN_LOG_BYTES", default_value = "64Mi", value_parser = bytes)]
    pub run_log_bytes: u64,

    /// Bytes of all that is kept of a tenant; with so many no run of it begins
    #[arg(long, env = "NTRO_TENANT_BYTES", default_value = "5Gi", value_parser = bytes)]
    pub tenant_bytes: u64,

    /// Free bytes of the data directory's volume below which no run begins
    #[arg(long, env = "NTRO_STORAGE_RESERVE", default_value = "64Mi", value_parser = bytes)]
    pub storage_reserve: u64,

    /// Let administrators decide gates; only for clusters without users of their own
    #[arg(long, env = "NTRO_ADMINS_MAY_DECIDE", default_value_t = false, action = clap::ArgAction::Set)]
    pub admins_may_decide: bool,

    /// Allow runner pods on kernels without Landlock
    #[arg(long, env = "NTRO_ALLOW_NO_LANDLOCK", default_value_t = false, action = clap::ArgAction::Set)]
    pub allow_no_landlock: bool,

    /// Directory of failpoint files, which crash the operator at named places; for testing
    #[arg(long, env = "NTRO_FAILPOINT_DIR")]
    pub failpoint_dir: Option<PathBuf>,

    /// File that says by how many seconds the clock is set, read again each time; for testing
    #[arg(long, env = "NTRO_CLOCK_FILE")]
    pub clock_file: Option<PathBuf>,

    /// Log format
    #[arg(long, env = "NTRO_LOG_FORMAT", default_value = "json")]
    pub log_format: LogFormat,

    /// Log filter, e.g. `info,ntro_operator=debug`
    #[arg(long, env = "NTRO_LOG", default_value = "info", value_parser = log_filter)]
    pub log: String,
}

impl Settings {
    /// The image of runner pods, if the installation names one.
    pub(crate) fn runner_image(&self) -> Option<&str> {
        Some(self.runner_image.as_str()).filter(|image| !image.is_empty())
    }

    /// The settings of the journal.
    pub(crate) fn for_journal(&self) -> ntro_journal::JournalSettings {
        ntro_journal::JournalSettings {
            lease: self.lease,
            // Half a lease on top, so that a pod that is only late is not given up.
            grace: (self.lease / 2).min(LONGEST_GRACE),
            linger: self.linger,
            outage_wait: self.outage_wait,
            cancel_grace: self.cancel_grace,
            limits: ntro_journal::JournalLimits {
                entry_bytes_max: self.run_journal_bytes,
                blobs_max: self.run_blob_bytes,
                log_max: self.run_log_bytes,
                tenant_max: self.tenant_bytes,
                reserve: self.storage_reserve,
                ..ntro_journal::JournalLimits::default()
            },
            ..ntro_journal::JournalSettings::new(self.data_dir.join("journal"))
        }
    }
}

/// The longest time a pod gets on top of its lease.
const LONGEST_GRACE: Duration = Duration::from_secs(15);

/// Which namespaces the operator serves.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Scope {
    /// Every namespace with the tenant label.
    Cluster,
    /// Only the operator's own.
    Namespace,
}

/// Log format.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum LogFormat {
    /// One JSON object per line.
    Json,
    /// For people.
    Plain,
}

fn non_empty(text: &str) -> Result<String, String> {
    if text.trim().is_empty() { Err("must not be empty".to_owned()) } else { Ok(text.to_owned()) }
}

fn dns_label(text: &str) -> Result<String, String> {
    let inner = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-';
    let valid =
        (1..=63).contains(&text.len()) && text.bytes().all(inner) && !text.starts_with('-') && !text.ends_with('-');
    if valid { Ok(text.to_owned()) } else { Err("must be a DNS label: a-z, 0-9 and `-`, at most 63".to_owned()) }
}

fn millis(text: &str) -> Result<Duration, String> {
    match millis_or_zero(text)? {
        Duration::ZERO => Err("must be greater than 0".to_owned()),
        duration => Ok(duration),
    }
}

fn millis_or_zero(text: &str) -> Result<Duration, String> {
    const MAX: u64 = 7 * 24 * 3600 * 1000;
    match text.parse::<u64>() {
        Ok(ms) if ms <= MAX => Ok(Duration::from_millis(ms)),
        _ => Err(format!("must be a number of milliseconds from 0 to {MAX}")),
    }
}

fn log_filter(text: &str) -> Result<String, String> {
    tracing_subscriber::EnvFilter::try_new(text).map(|_| text.to_owned()).map_err(|e| e.to_string())
}

#[cfg(test)]
impl Settings {
    /// Settings for tests: everything at its default, data in `data_dir`.
    pub(crate) fn for_tests(data_dir: &std::path::Path) -> Self {
        let dir = data_dir.to_str().unwrap();
        match Args::parse_from(["ntro-operator", "run", "--namespace", "ntro-system", "--data-dir", dir]).command {
            Command::Run(settings) => *settings,
            Command::Crds => unreachable!("parsed `run`"),
        }
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_command_line_is_well_formed() {
        Args::command().debug_assert();
    }

    #[test]
    fn values_are_checked_before_anything_starts() {
        let parse = |more: &[&str]| {
            Args::try_parse_from([&["ntro-operator", "run", "--namespace", "ntro-system"], more].concat()).is_ok()
        };
        assert!(parse(&[]));
        assert!(parse(&["--linger", "0", "--scope", "namespace", "--log-format", "plain"]));
        for wrong in [
            ["--lease", "0"],
            ["--lease", "soon"],
            ["--tenant-bytes", "10GB"],
            ["--tenant-bytes", "0"],
            ["--tenant-bytes", "Gi"],
            ["--tenant-bytes", "-1Gi"],
            ["--namespace", "Not_A_Label"],
            ["--api-addr", "8443"],
            ["--scope", "galaxy"],
            ["--log", "ntro=loud=er"],
        ] {
            assert!(!parse(&wrong), "{wrong:?}");
        }
    }
}
