//! Arguments of `ntro workflow`.

use std::path::PathBuf;

use clap::{Args, Subcommand};

use super::NameArgs;

#[derive(Debug, Subcommand)]
pub(crate) enum WorkflowCommand {
    /// Push a runbook bundle and bind it to an entity.
    ///
    /// Example: ntro workflow create --path runbooks/nav-monthly --tenant acme-fund-admin --entity acme-commercial-spv1 --schedule "0 8 5 * *" --timezone Europe/London
    Create(WorkflowCreateArgs),
    /// List the workflows of a tenant.
    List,
    /// Show a workflow.
    Get(NameArgs),
    /// Start a run now.
    Run(WorkflowRunArgs),
    /// Show upcoming runs of a workflow in the cluster, or of manifests on disk (without a cluster).
    ///
    /// Example: ntro workflow next examples/manifests/workflow.yaml -n 12
    Next(WorkflowNextArgs),
    /// Start the missing runs of past slots, oldest first.
    ///
    /// A slot gives one run, however often it is backfilled: rerun the command to resume an interrupted backfill. The
    /// command waits for the runs. Exit code 0: all succeeded or ran before, 3: some failed, were cancelled or refused,
    /// or are blocked, 7: some wait for a person, 124: `--timeout` expired.
    ///
    /// Example: ntro workflow backfill nav-monthly --tenant acme-fund-admin --from 2026-01-01 --to 2026-06-30 --dry-run
    Backfill(WorkflowBackfillArgs),
    /// Suspend the schedule. Runs that have started continue.
    Suspend(NameArgs),
    /// Resume the schedule. Slots that passed while it was suspended are not started.
    Resume(NameArgs),
}

#[derive(Debug, Args)]
pub(crate) struct WorkflowCreateArgs {
    /// Directory of the bundle: `runbook.md`, `templates/` and data files.
    #[arg(long, value_name = "DIR")]
    pub(crate) path: PathBuf,
    /// Entity of the tenant that the workflow is for, e.g. an SPV. Without it, the runbook is pushed and applied, but not bound.
    #[arg(long, env = "NTRO_ENTITY", value_name = "SLUG")]
    pub(crate) entity: Option<String>,
    /// Name of the workflow [default: the runbook's slug, with a hash of the entity if another entity has that name].
    #[arg(long, value_name = "NAME", requires = "entity")]
    pub(crate) name: Option<String>,
    /// Cron schedule with five fields, e.g. `0 8 5 * *`, or an alias such as `@monthly`. `H` in a field is a value derived from the names of tenant and workflow, to spread load, e.g. `H 8 5 * *`.
    #[arg(long, value_name = "CRON", requires = "entity")]
    pub(crate) schedule: Option<String>,
    /// IANA time zone of the schedule [default: UTC].
    #[arg(long, value_name = "ZONE", requires = "schedule")]
    pub(crate) timezone: Option<String>,
    /// Pin the workflow to this exact version instead of following the newest stable version.
    #[arg(long, requires = "entity")]
    pub(crate) pin: bool,
    /// Set a configuration value, parsed as JSON if possible, else as text; can be repeated.
    #[arg(long = "set", value_name = "KEY=VALUE", requires = "entity")]
    pub(crate) set: Vec<String>,
    /// Configuration file, JSON or YAML.
    #[arg(long, value_name = "FILE", requires = "entity")]
    pub(crate) config: Option<PathBuf>,
    /// Repository prefix to push to [default: annotation `ntro.dev/registry` of the tenant's namespace].
    #[arg(long, env = "NTRO_REGISTRY", value_name = "PREFIX")]
    pub(crate) registry: Option<String>,
    /// Use plain HTTP for the registry.
    #[arg(long)]
    pub(crate) plain_http: bool,
    /// Print what would be pushed and applied without changing anything; with `-o yaml`, ready for `kubectl apply -f -`.
    #[arg(long)]
    pub(crate) dry_run: bool,
    /// Do not wait for the resources to become ready.
    #[arg(long)]
    pub(crate) no_wait: bool,
}

#[derive(Debug, Args)]
pub(crate) struct WorkflowRunArgs {
    /// Name of the workflow.
    pub(crate) name: String,
    /// Accounting period of the run, e.g. `2026-10` [default: the workflow's current period].
    #[arg(long, value_name = "PERIOD")]
    pub(crate) period: Option<String>,
    /// Name of the run. A run of the same name is started only once.
    #[arg(long = "run-name", value_name = "NAME")]
    pub(crate) run_name: Option<String>,
    /// Wait until the run ends or needs a person. Exit code 0: succeeded, 3: failed, 6: cancelled, 7: waits for a person or is blocked.
    #[arg(long)]
    pub(crate) wait: bool,
    /// How long to wait, e.g. `30s` or `2h`.
    #[arg(long, default_value = "10m", value_name = "DURATION", requires = "wait")]
    pub(crate) timeout: String,
    /// Print the `WorkflowRun` without starting it.
    #[arg(long)]
    pub(crate) dry_run: bool,
}

#[derive(Debug, Args)]
pub(crate) struct WorkflowNextArgs {
    /// Name of a workflow; or a file with workflows (YAML documents, JSON or a List), a directory of such files (`./manifests`: its `*.yaml`, `*.yml` and `*.json`), or `-` for standard input.
    #[arg(value_name = "PATH|NAME")]
    pub(crate) source: String,
    /// Number of runs to show, per workflow.
    #[arg(long, short = 'n', default_value_t = 5, value_name = "N")]
    pub(crate) count: usize,
    /// Show runs after this date or time [default: now].
    #[arg(long, value_name = "TIME")]
    pub(crate) after: Option<String>,
}

#[derive(Debug, Args)]
pub(crate) struct WorkflowBackfillArgs {
    /// Name of the workflow.
    pub(crate) name: String,
    /// Start of the interval: a date (2026-01-31), meaning its start in the schedule's time zone, or a time
    /// (2026-01-31T08:00:00Z).
    #[arg(long, value_name = "TIME")]
    pub(crate) from: String,
    /// End of the interval, inclusive: a date, meaning its end in the schedule's time zone, or a time [default: now].
    #[arg(long, value_name = "TIME")]
    pub(crate) to: Option<String>,
    /// Maximum number of runs in flight, not counting those that wait for a person.
    #[arg(long, default_value_t = 1, value_name = "N", value_parser = max_parallel)]
    pub(crate) max_parallel: usize,
    /// How long to wait for the runs, e.g. `2h` [default: until all have ended or wait for a person]. Started runs continue afterwards.
    #[arg(long, value_name = "DURATION")]
    pub(crate) timeout: Option<String>,
    /// List the slots without starting runs; with `-o yaml`, print the runs that would be created.
    #[arg(long)]
    pub(crate) dry_run: bool,
}

fn max_parallel(text: &str) -> Result<usize, String> {
    let number = text.parse::<usize>().ok().filter(|n| (1..=100).contains(n));
    number.ok_or_else(|| "expected a number from 1 to 100".to_owned())
}
