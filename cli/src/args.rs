//! The command line: clap types only. Their doc comments are the manual (`ntro help <command>`).

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};

/// Run versioned runbooks for your tenants on Kubernetes.
///
/// `ntro` pushes runbook bundles to a registry, emits the custom resources and lets people read and answer gates.
/// Everything it applies can be applied with `kubectl` or GitOps instead: add `--dry-run -o yaml` to see it.
#[derive(Debug, Parser)]
#[command(name = "ntro", version, propagate_version = true, disable_help_subcommand = false)]
pub struct Cli {
    /// Flags of every command.
    #[command(flatten)]
    pub global: Global,
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// Flags that every command takes.
#[derive(Debug, Clone, Args)]
pub struct Global {
    /// Path of the kubeconfig file; default: `$KUBECONFIG`, else `~/.kube/config`.
    #[arg(long, global = true, value_name = "FILE", help_heading = "Cluster")]
    pub kubeconfig: Option<PathBuf>,
    /// Context of the kubeconfig to use.
    #[arg(long, global = true, value_name = "NAME", help_heading = "Cluster")]
    pub context: Option<String>,
    /// Tenant: the slug of a client. Its namespace has the same name unless `--namespace` says otherwise.
    #[arg(long, short = 't', global = true, env = "NTRO_TENANT", value_name = "SLUG", help_heading = "Cluster")]
    pub tenant: Option<String>,
    /// Namespace of the tenant.
    #[arg(long, global = true, value_name = "NAME", help_heading = "Cluster")]
    pub namespace: Option<String>,
    /// User to impersonate, as `kubectl --as`.
    #[arg(long = "as", global = true, value_name = "USER", help_heading = "Cluster")]
    pub impersonate: Option<String>,
    /// Group to impersonate; repeat for several.
    #[arg(long = "as-group", global = true, value_name = "GROUP", help_heading = "Cluster")]
    pub impersonate_groups: Vec<String>,
    /// Output format. Data goes to standard output, progress and warnings to standard error.
    #[arg(long, short = 'o', global = true, value_enum, default_value_t = Output::Table, help_heading = "Output")]
    pub output: Output,
    /// Leave the header row of tables out.
    #[arg(long, global = true, help_heading = "Output")]
    pub no_headers: bool,
    /// Say less: no progress on standard error.
    #[arg(long, short = 'q', global = true, help_heading = "Output")]
    pub quiet: bool,
}

/// How results are printed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Output {
    /// A table for people.
    Table,
    /// A table with more columns.
    Wide,
    /// JSON, one document.
    Json,
    /// YAML, ready for `kubectl apply -f -`.
    Yaml,
    /// `kind/name`, one a line.
    Name,
}

/// The commands.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Check that the cluster and the tenant are ready for ntro.
    Check(Check),
    /// Prepare namespaces for tenants.
    #[command(subcommand)]
    Tenant(Tenant),
    /// Work with workflows: a runbook bound to an entity of a tenant, with or without a schedule.
    #[command(subcommand)]
    Workflow(Workflow),
    /// Work with runs: the executions of a workflow.
    #[command(subcommand)]
    Run(Run),
    /// Read and answer gates: the questions runs ask people.
    #[command(subcommand)]
    Gate(Gate),
    /// Work with runbook bundles on disk.
    #[command(subcommand)]
    Runbook(Runbook),
    /// Print the custom resource definitions as YAML.
    Crds,
}

/// `ntro check`.
#[derive(Debug, Args)]
pub struct Check {
    /// Check only what must be there before installing: cluster version and rights.
    #[arg(long)]
    pub pre: bool,
}

/// `ntro tenant …`.
#[derive(Debug, Subcommand)]
pub enum Tenant {
    /// Prepare a namespace for a tenant: accounts, roles, quota and network policy. The same as the chart `ntro-tenant`.
    ///
    /// Example: ntro tenant create acme-fund-admin --viewer anna@example.com --approver bob@example.com
    Create(TenantCreate),
}

/// `ntro tenant create`.
#[derive(Debug, Args)]
pub struct TenantCreate {
    /// Slug of the tenant: lower-case letters, digits and hyphens.
    pub slug: String,
    /// Registry repository prefix that bundles of this tenant are pushed to, e.g. `registry.example.com/acme`.
    #[arg(long, env = "NTRO_REGISTRY", value_name = "PREFIX")]
    pub registry: Option<String>,
    /// Namespace the operator runs in.
    #[arg(long, default_value = "ntro-system", value_name = "NAME")]
    pub operator_namespace: String,
    /// User who may read gates, outputs and logs; repeat for several.
    #[arg(long = "viewer", value_name = "USER")]
    pub viewers: Vec<String>,
    /// Group who may read gates, outputs and logs; repeat for several.
    #[arg(long = "viewer-group", value_name = "GROUP")]
    pub viewer_groups: Vec<String>,
    /// User who may answer gates; repeat for several.
    #[arg(long = "approver", value_name = "USER")]
    pub approvers: Vec<String>,
    /// Group who may answer gates; repeat for several.
    #[arg(long = "approver-group", value_name = "GROUP")]
    pub approver_groups: Vec<String>,
    /// User who may create, run, cancel and retry workflows; repeat for several.
    #[arg(long = "runner", value_name = "USER")]
    pub runners: Vec<String>,
    /// Group who may create, run, cancel and retry workflows; repeat for several.
    #[arg(long = "runner-group", value_name = "GROUP")]
    pub runner_groups: Vec<String>,
    /// Print what would be applied and change nothing; with `-o yaml` it is ready for `kubectl apply -f -`.
    #[arg(long)]
    pub dry_run: bool,
}

/// `ntro workflow …`.
#[derive(Debug, Subcommand)]
pub enum Workflow {
    /// Push a runbook bundle and bind it to an entity.
    ///
    /// Example: ntro workflow create --path runbooks/nav-monthly --tenant acme-fund-admin --entity acme-commercial-spv1 --schedule "0 8 5 * *" --timezone Europe/London
    Create(WorkflowCreate),
    /// List the workflows of a tenant.
    List,
    /// Show one workflow.
    Get(Named),
    /// Start a run now.
    Run(WorkflowRun),
    /// Show when runs are due next: of a workflow of the tenant, or of manifests, which need no cluster.
    ///
    /// Example: ntro workflow next examples/manifests/workflow.yaml -n 12
    Next(WorkflowNext),
    /// Start the runs of past slots of the schedule that have none, oldest first.
    ///
    /// Each slot gives one run, however often it is asked for: an interrupted backfill is gone on with by the same command.
    /// It waits for the runs, and says by the exit code what became of them (0 all succeeded or ran before, 3 some failed,
    /// were cancelled, are blocked or were refused, 7 none of these, but some wait for a person, 124 `--timeout` passed).
    ///
    /// Example: ntro workflow backfill nav-monthly --tenant acme-fund-admin --from 2026-01-01 --to 2026-06-30 --dry-run
    Backfill(WorkflowBackfill),
    /// Stop scheduling new runs; runs that have started go on.
    Suspend(Named),
    /// Schedule runs again. Slots that passed meanwhile do not fire.
    Resume(Named),
}

/// `ntro workflow create`.
#[derive(Debug, Args)]
pub struct WorkflowCreate {
    /// Directory of the bundle: `runbook.md`, `templates/`, and data files.
    #[arg(long, value_name = "DIR")]
    pub path: PathBuf,
    /// Entity of the tenant that the workflow is for, e.g. an SPV. Without it the bundle is pushed and its Runbook applied, nothing is bound.
    #[arg(long, env = "NTRO_ENTITY", value_name = "SLUG")]
    pub entity: Option<String>,
    /// Name of the Workflow; default: `<runbook slug>` shortened, or with a hash of the entity if that is taken by another entity.
    #[arg(long, value_name = "NAME", requires = "entity")]
    pub name: Option<String>,
    /// Cron schedule with five fields, e.g. `0 8 5 * *`, or an alias such as `@monthly`. `H` in a field is a value that follows from the names of tenant and workflow, so that many do not start at once, e.g. `H 8 5 * *`.
    #[arg(long, value_name = "CRON", requires = "entity")]
    pub schedule: Option<String>,
    /// IANA time zone of the schedule; default UTC.
    #[arg(long, value_name = "ZONE", requires = "schedule")]
    pub timezone: Option<String>,
    /// Bind this exact version for good; otherwise the workflow follows the newest stable version.
    #[arg(long, requires = "entity")]
    pub pin: bool,
    /// Configuration value `key=value` (value as JSON, else text); repeat for several.
    #[arg(long = "set", value_name = "KEY=VALUE", requires = "entity")]
    pub set: Vec<String>,
    /// File with the configuration, JSON or YAML.
    #[arg(long, value_name = "FILE", requires = "entity")]
    pub config: Option<PathBuf>,
    /// Registry repository prefix to push to; default: `$NTRO_REGISTRY`, else the annotation `ntro.dev/registry` of the tenant's namespace.
    #[arg(long, env = "NTRO_REGISTRY", value_name = "PREFIX")]
    pub registry: Option<String>,
    /// Speak plain http to the registry.
    #[arg(long)]
    pub plain_http: bool,
    /// Print what would be pushed and applied and change nothing; with `-o yaml` it is ready for `kubectl apply -f -`.
    #[arg(long)]
    pub dry_run: bool,
    /// Return as soon as the resources are applied, without waiting for them to be Ready.
    #[arg(long)]
    pub no_wait: bool,
}

/// The name of one object.
#[derive(Debug, Args)]
pub struct Named {
    /// Its name.
    pub name: String,
}

/// `ntro workflow run`.
#[derive(Debug, Args)]
pub struct WorkflowRun {
    /// Name of the workflow.
    pub name: String,
    /// Accounting period of the run, e.g. `2026-10`; default: the period that the workflow's rule gives for now.
    #[arg(long, value_name = "PERIOD")]
    pub period: Option<String>,
    /// Name of the run; repeating the command with the same name starts nothing twice.
    #[arg(long = "run-name", value_name = "NAME")]
    pub run_name: Option<String>,
    /// Wait until the run has ended or waits for a person, and say so by the exit code (0 succeeded, 3 failed, 6 cancelled, 7 waits for a person or is blocked).
    #[arg(long)]
    pub wait: bool,
    /// How long to wait.
    #[arg(long, default_value = "10m", value_name = "DURATION", requires = "wait")]
    pub timeout: String,
    /// Print the WorkflowRun and start nothing.
    #[arg(long)]
    pub dry_run: bool,
}

/// `ntro workflow next`.
#[derive(Debug, Args)]
pub struct WorkflowNext {
    /// Name of a workflow of the tenant; or a file with Workflows (YAML documents or JSON, also a List), a directory with such files (`./manifests`: its `*.yaml`, `*.yml`, `*.json`), or `-` for standard input.
    #[arg(value_name = "PATH|NAME")]
    pub what: String,
    /// How many, of each workflow.
    #[arg(long, short = 'n', default_value_t = 5, value_name = "N")]
    pub count: usize,
    /// Those after this date or time; default: now.
    #[arg(long, value_name = "TIME")]
    pub after: Option<String>,
}

/// `ntro workflow backfill`.
#[derive(Debug, Args)]
pub struct WorkflowBackfill {
    /// Name of the workflow.
    pub name: String,
    /// First moment: a date (2026-01-31), which counts from its start in the schedule's zone, or a time (2026-01-31T08:00:00Z).
    #[arg(long, value_name = "TIME")]
    pub from: String,
    /// Last moment: a date, which counts to its end in the schedule's zone, or a time; default: now.
    #[arg(long, value_name = "TIME")]
    pub to: Option<String>,
    /// How many runs may be on the way at a time. Those that wait for a person do not count.
    #[arg(long, default_value_t = 1, value_name = "N", value_parser = parallel)]
    pub max_parallel: usize,
    /// How long to wait for the runs, e.g. `2h`; default: until all have ended or wait for a person. What was started goes on afterwards.
    #[arg(long, value_name = "DURATION")]
    pub timeout: Option<String>,
    /// Show the slots and start nothing; with -o yaml the runs that would be created.
    #[arg(long)]
    pub dry_run: bool,
}

fn parallel(text: &str) -> Result<usize, String> {
    let number = text.parse::<usize>().ok().filter(|n| (1..=100).contains(n));
    number.ok_or_else(|| "give a number from 1 to 100".to_owned())
}

/// `ntro run …`.
#[derive(Debug, Subcommand)]
pub enum Run {
    /// List runs, newest first.
    List(RunList),
    /// Show one run: phase, steps, what it waits for, outputs.
    Get(Named),
    /// Print what the runbook's code wrote. Reading is recorded in the run's journal with your name.
    Logs(RunLogs),
    /// Print the result and the outputs of a run, or fetch one. Reading is recorded in the run's journal with your name.
    Output(RunOutput),
    /// Cancel a run.
    Cancel(Named),
    /// Let a blocked run go on; allows an external effect of unknown outcome to be repeated.
    Retry(Named),
}

/// `ntro run list`.
#[derive(Debug, Args)]
pub struct RunList {
    /// Only runs of this workflow.
    #[arg(long, value_name = "NAME")]
    pub workflow: Option<String>,
}

/// `ntro run logs`.
#[derive(Debug, Args)]
pub struct RunLogs {
    /// Name of the run.
    pub name: String,
    /// Go on printing until the run ends.
    #[arg(long, short = 'f')]
    pub follow: bool,
    /// Only this segment.
    #[arg(long, value_name = "N")]
    pub segment: Option<u32>,
}

/// `ntro run output`.
#[derive(Debug, Args)]
pub struct RunOutput {
    /// Name of the run.
    pub name: String,
    /// Output to fetch; without it the result and the list of outputs are printed.
    #[arg(value_name = "OUTPUT")]
    pub wanted: Option<String>,
    /// File to write the output to; default: standard output.
    #[arg(long, short = 'f', value_name = "FILE", requires = "wanted")]
    pub file: Option<PathBuf>,
    /// Export the whole journal as JSON lines, to be verified off line.
    #[arg(long, conflicts_with = "wanted")]
    pub audit: bool,
}

/// `ntro gate …`.
#[derive(Debug, Subcommand)]
pub enum Gate {
    /// List gates that wait for an answer.
    List(GateList),
    /// Show what a gate asks, with its content. Reading is recorded in the run's journal with your name.
    Show(Named),
    /// Approve what the gate shows.
    Approve(GateAnswer),
    /// Reject what the gate shows.
    Reject(GateAnswer),
    /// Send corrections, from a JSON or YAML file.
    Correct(GateCorrect),
}

/// `ntro gate list`.
#[derive(Debug, Args)]
pub struct GateList {
    /// Also gates that have been answered.
    #[arg(long, short = 'a')]
    pub all: bool,
    /// Only gates of this run.
    #[arg(long, value_name = "NAME")]
    pub run: Option<String>,
}

/// `ntro gate approve` and `reject`.
#[derive(Debug, Args)]
pub struct GateAnswer {
    /// Name of the gate.
    pub name: String,
    /// Comment for the record. It is kept in the journal, never in the Kubernetes API.
    #[arg(long, short = 'm', value_name = "TEXT")]
    pub message: Option<String>,
    /// Revision that you have seen; default: the current one. An answer to an older revision has no effect.
    #[arg(long, value_name = "N")]
    pub revision: Option<u32>,
    /// How long to wait until the operator has judged the answer. The answer stands, whether or not that is waited for.
    #[arg(long, default_value = "1m", value_name = "DURATION")]
    pub timeout: String,
}

/// `ntro gate correct`.
#[derive(Debug, Args)]
pub struct GateCorrect {
    /// Name of the gate, comment and revision.
    #[command(flatten)]
    pub answer: GateAnswer,
    /// File with the corrections.
    #[arg(long, short = 'f', value_name = "FILE")]
    pub file: PathBuf,
}

/// `ntro runbook …`.
#[derive(Debug, Subcommand)]
pub enum Runbook {
    /// Validate a bundle without a cluster: exit code 0 valid, 1 invalid, 2 no such directory.
    Validate(RunbookValidate),
}

/// `ntro runbook validate`.
#[derive(Debug, Args)]
pub struct RunbookValidate {
    /// Directory of the bundle.
    pub path: PathBuf,
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    #[test]
    fn the_command_line_is_consistent() {
        super::Cli::command().debug_assert();
    }
}
