//! Arguments of `ntro tenant`.

use clap::{Args, Subcommand};
use ntro_crds::quantity;

#[derive(Debug, Subcommand)]
pub(crate) enum TenantCommand {
    /// Prepare a namespace for a tenant: service accounts, roles, quota and network policy. Equivalent to the chart
    /// `ntro-tenant`. Registry, retention and limits of an existing namespace are kept unless a flag sets them.
    ///
    /// Example: ntro tenant create acme-fund-admin --viewer anna@example.com --approver bob@example.com
    Create(TenantCreateArgs),
}

#[derive(Debug, Args)]
pub(crate) struct TenantCreateArgs {
    /// Slug of the tenant: lower-case letters, digits and hyphens.
    pub(crate) slug: String,
    /// Repository prefix to which bundles of this tenant are pushed, e.g. `registry.example.com/acme`.
    #[arg(long, env = "NTRO_REGISTRY", value_name = "PREFIX")]
    pub(crate) registry: Option<String>,
    /// Namespace of the operator.
    #[arg(long, default_value = "ntro-system", value_name = "NAME")]
    pub(crate) operator_namespace: String,
    /// How long to keep the journal of a run after its end, in days [default for a new namespace: 365d].
    #[arg(long, value_name = "DAYS", value_parser = days)]
    pub(crate) retention_journal: Option<String>,
    /// How long to keep the log of a run after its end, in days [default for a new namespace: 30d].
    #[arg(long, value_name = "DAYS", value_parser = days)]
    pub(crate) retention_logs: Option<String>,
    /// Maximum size of a run's journal, e.g. `64Mi`; at most the operator's limit, which also applies if this is empty
    /// [default for a new namespace: the operator's limit].
    #[arg(long, value_name = "BYTES", value_parser = bytes)]
    pub(crate) limits_run_journal: Option<String>,
    /// Maximum size of a run's blobs (results and files); see `--limits-run-journal`.
    #[arg(long, value_name = "BYTES", value_parser = bytes)]
    pub(crate) limits_run_blobs: Option<String>,
    /// Maximum size of a run's log; see `--limits-run-journal`.
    #[arg(long, value_name = "BYTES", value_parser = bytes)]
    pub(crate) limits_run_log: Option<String>,
    /// Maximum size of everything that is kept for the tenant; see `--limits-run-journal`.
    #[arg(long, value_name = "BYTES", value_parser = bytes)]
    pub(crate) limits_tenant: Option<String>,
    /// User allowed to read gates, outputs and logs; can be repeated.
    #[arg(long = "viewer", value_name = "USER")]
    pub(crate) viewers: Vec<String>,
    /// Group allowed to read gates, outputs and logs; can be repeated.
    #[arg(long = "viewer-group", value_name = "GROUP")]
    pub(crate) viewer_groups: Vec<String>,
    /// User allowed to answer gates; can be repeated.
    #[arg(long = "approver", value_name = "USER")]
    pub(crate) approvers: Vec<String>,
    /// Group allowed to answer gates; can be repeated.
    #[arg(long = "approver-group", value_name = "GROUP")]
    pub(crate) approver_groups: Vec<String>,
    /// User allowed to create workflows, and to start, cancel and retry runs; can be repeated.
    #[arg(long = "runner", value_name = "USER")]
    pub(crate) runners: Vec<String>,
    /// Group allowed to create workflows, and to start, cancel and retry runs; can be repeated.
    #[arg(long = "runner-group", value_name = "GROUP")]
    pub(crate) runner_groups: Vec<String>,
    /// Print what would be applied without changing anything; with `-o yaml`, ready for `kubectl apply -f -`.
    #[arg(long)]
    pub(crate) dry_run: bool,
}

/// Whole days as the operator reads them.
fn days(text: &str) -> Result<String, String> {
    let days = text.strip_suffix('d').filter(|digits| digits.bytes().all(|digit| digit.is_ascii_digit()));
    match days.and_then(|days| days.parse::<u32>().ok()) {
        Some(1..=36_500) => Ok(text.to_owned()),
        _ => Err("must be a number of days from 1d to 36500d".to_owned()),
    }
}

/// Bytes as the operator reads them; empty for the operator's own limit.
fn bytes(text: &str) -> Result<String, quantity::BadBytes> {
    if !text.is_empty() {
        quantity::bytes(text)?;
    }
    Ok(text.to_owned())
}
