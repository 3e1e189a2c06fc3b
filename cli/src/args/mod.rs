//! The command line: clap types only, one file per command group. Their doc comments are the manual (`ntro help`).

mod gate;
mod run;
mod tenant;
mod workflow;

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};

pub(crate) use gate::{GateAnswerArgs, GateCommand, GateListArgs};
pub(crate) use run::{RunCommand, RunListArgs, RunLogsArgs, RunOutputArgs};
pub(crate) use tenant::{TenantCommand, TenantCreateArgs};
pub(crate) use workflow::{
    WorkflowBackfillArgs, WorkflowCommand, WorkflowCreateArgs, WorkflowNextArgs, WorkflowRunArgs,
};

/// Run versioned runbooks for your tenants on Kubernetes.
///
/// `ntro` pushes runbook bundles to a registry, applies custom resources, and lets people read and answer gates.
/// Everything it applies can be applied with `kubectl` or GitOps instead: use `--dry-run -o yaml` to print it.
#[derive(Debug, Parser)]
#[command(name = "ntro", version, propagate_version = true, disable_help_subcommand = false)]
pub(crate) struct Cli {
    #[command(flatten)]
    pub(crate) global: GlobalArgs,
    #[command(subcommand)]
    pub(crate) command: Commands,
}

#[derive(Debug, Clone, Args)]
pub(crate) struct GlobalArgs {
    /// Path to the kubeconfig file [default: `$KUBECONFIG`, else `~/.kube/config`].
    #[arg(long, global = true, value_name = "FILE", help_heading = "Cluster")]
    pub(crate) kubeconfig: Option<PathBuf>,
    /// Context of the kubeconfig to use.
    #[arg(long, global = true, value_name = "NAME", help_heading = "Cluster")]
    pub(crate) context: Option<String>,
    /// Tenant to work in, by slug; its namespace has the same name unless `--namespace` is given.
    #[arg(long, short = 't', global = true, env = "NTRO_TENANT", value_name = "SLUG", help_heading = "Cluster")]
    pub(crate) tenant: Option<String>,
    /// Namespace of the tenant.
    #[arg(long, global = true, value_name = "NAME", help_heading = "Cluster")]
    pub(crate) namespace: Option<String>,
    /// User to impersonate, like `kubectl --as`.
    #[arg(long = "as", global = true, value_name = "USER", help_heading = "Cluster")]
    pub(crate) impersonate: Option<String>,
    /// Group to impersonate; can be repeated.
    #[arg(long = "as-group", global = true, value_name = "GROUP", help_heading = "Cluster")]
    pub(crate) impersonate_groups: Vec<String>,
    /// Output format. Data goes to standard output, progress and warnings to standard error.
    #[arg(long, short = 'o', global = true, value_enum, default_value_t = OutputFormat::Table, help_heading = "Output")]
    pub(crate) output: OutputFormat,
    /// Do not print table headers.
    #[arg(long, global = true, help_heading = "Output")]
    pub(crate) no_headers: bool,
    /// Suppress progress output.
    #[arg(long, short = 'q', global = true, help_heading = "Output")]
    pub(crate) quiet: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum OutputFormat {
    /// Human-readable table.
    Table,
    /// Table with additional columns.
    Wide,
    /// A single JSON document.
    Json,
    /// YAML, ready for `kubectl apply -f -`.
    Yaml,
    /// `kind/name`, one per line.
    Name,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Commands {
    /// Check that the cluster and the tenant are ready for ntro.
    Check(CheckArgs),
    /// Prepare namespaces for tenants.
    #[command(subcommand)]
    Tenant(TenantCommand),
    /// Manage workflows: a runbook bound to an entity of a tenant, optionally on a schedule.
    #[command(subcommand)]
    Workflow(WorkflowCommand),
    /// Manage runs: the executions of a workflow.
    #[command(subcommand)]
    Run(RunCommand),
    /// Read and answer gates: the decisions that runs wait for.
    #[command(subcommand)]
    Gate(GateCommand),
    /// Work with runbook bundles on disk.
    #[command(subcommand)]
    Runbook(RunbookCommand),
    /// Print the custom resource definitions as YAML.
    Crds,
}

#[derive(Debug, Args)]
pub(crate) struct CheckArgs {
    /// Check only the prerequisites of an installation: cluster version and permissions.
    #[arg(long)]
    pub(crate) pre: bool,
}

#[derive(Debug, Subcommand)]
pub(crate) enum RunbookCommand {
    /// Validate a bundle without a cluster. Exit code 0: valid, 1: invalid, 2: no such directory.
    Validate(RunbookValidateArgs),
}

#[derive(Debug, Args)]
pub(crate) struct RunbookValidateArgs {
    /// Directory of the bundle.
    pub(crate) path: PathBuf,
}

/// Arguments of commands on one object, shared by several groups.
#[derive(Debug, Args)]
pub(crate) struct NameArgs {
    /// Name of the object.
    pub(crate) name: String,
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    #[test]
    fn the_command_line_is_consistent() {
        super::Cli::command().debug_assert();
    }
}
