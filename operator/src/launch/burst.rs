//! Bursts: when many runs of a namespace are due at once, their objects come first, their first Jobs after, and statuses
//! that nobody waits for last. Each Job sets the Job controller to work, and each status its watchers, which takes the API
//! server's time from what is still to be created. `docs/scheduling.md` has the figures.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use crate::cache::RunRef;
use crate::k8s::NamespacedName;
use crate::queue::Queue;

/// A first Job waits for the objects of other runs no longer than this.
const HEAD_START: Duration = Duration::from_secs(3);
/// Safety timeout: a first Job is created after this even if nobody released it.
const LONGEST_HOLD: Duration = Duration::from_secs(10);
/// Nothing is deferred for longer: a namespace whose launches never end has its statuses written all the same. Long enough for
/// five thousand launches on a small control plane, which the status writes of the first would slow down for the last.
pub(crate) const LONGEST_DEFERRAL: Duration = Duration::from_mins(2);
/// What was deferred follows this long after the last launch, so that a burst with a pause is one burst.
pub(crate) const AFTER_BURST: Duration = Duration::from_millis(200);
/// Spacing between deferred reconciles. All at once they would compete with the Job controller and the watchers of the Jobs
/// that were just created.
const DEFERRED_SPACING: Duration = Duration::from_millis(5);

/// The launches under way, by namespace. Cloning is cheap.
///
/// The map is shared: a Workflow's reconcile begins launches, tells how they went and releases their Jobs; a run's reconcile takes its
/// own turn, and both defer themselves. An entry exists only while something of its namespace is under way.
#[derive(Clone)]
pub(crate) struct Burst {
    namespaces: Arc<Mutex<HashMap<String, Namespace>>>,
    runs: Queue<RunRef>,
    workflows: Queue<NamespacedName>,
}

struct Namespace {
    since: Instant,
    /// [`Busy`] values that live.
    busy: usize,
    /// By the run's name.
    launches: HashMap<String, Stage>,
    /// Runs whose Jobs are held back, and since when the first is.
    held: Option<(Instant, Vec<RunRef>)>,
    deferred: HashSet<Deferred>,
}

/// How far a launch has come.
#[derive(Debug, Clone, Copy)]
enum Stage {
    /// Nobody but the one who began it may create the run's object.
    Creating,
    /// The object is created, its first Job is held back.
    Created(Instant),
    /// The first Job is to be created.
    Ready,
}

/// A reconcile that can wait.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) enum Deferred {
    Run(RunRef),
    Workflow(NamespacedName),
}

impl Deferred {
    fn namespace(&self) -> &str {
        match self {
            Self::Run(run) => &run.namespace,
            Self::Workflow(workflow) => &workflow.namespace,
        }
    }
}

/// Whose turn a run is.
pub(crate) enum Turn {
    /// Its launch is somebody else's for now, who enqueues the run when its Job may follow.
    Held,
    /// Its first Job is to be created: the launch is over when this is dropped.
    First(Busy),
    /// It is not being launched.
    Usual,
}

impl Burst {
    /// The queues are those of the reconciles that can be deferred.
    pub(crate) fn new(runs: Queue<RunRef>, workflows: Queue<NamespacedName>) -> Self {
        Self { namespaces: Arc::default(), runs, workflows }
    }

    /// A run is about to be launched: until the launch tells what came of it, nobody else creates the run's object, and nothing of
    /// its namespace that can wait goes before its first Job.
    pub(crate) fn begin(&self, run: &RunRef) -> Launch {
        self.in_namespace(&run.namespace, |namespace| namespace.launches.insert(run.name.clone(), Stage::Creating));
        Launch { burst: self.clone(), run: run.clone(), over: false }
    }

    /// Has the held first Jobs of a namespace created, unless `more` of its runs are about to be launched. Called after every
    /// reconcile of a Workflow, whatever became of it.
    pub(crate) fn release_jobs(&self, namespace: &str, more: bool) {
        for run in self.release(namespace, more, Instant::now()) {
            self.runs.push(run);
        }
    }

    fn release(&self, namespace: &str, more: bool, now: Instant) -> Vec<RunRef> {
        let mut namespaces = self.lock();
        let Some(namespace) = namespaces.get_mut(namespace) else { return Vec::new() };
        let goes = |(since, _): &mut (Instant, Vec<RunRef>)| !more || now.duration_since(*since) >= HEAD_START;
        let runs = namespace.held.take_if(goes).map(|(_, runs)| runs).unwrap_or_default();
        for run in &runs {
            if let Some(stage) = namespace.launches.get_mut(&run.name) {
                *stage = Stage::Ready;
            }
        }
        runs
    }

    /// Whether a run's reconcile may go ahead. Takes the turn: a launch that is ready is over, and its namespace stays busy until
    /// the value is dropped.
    pub(crate) fn take_turn(&self, run: &RunRef) -> Turn {
        let mut namespaces = self.lock();
        let Some(namespace) = namespaces.get_mut(&run.namespace) else { return Turn::Usual };
        match namespace.launches.get(&run.name) {
            None => return Turn::Usual,
            Some(Stage::Creating) => return Turn::Held,
            Some(Stage::Created(at)) if at.elapsed() < LONGEST_HOLD => return Turn::Held,
            Some(Stage::Created(_) | Stage::Ready) => {}
        }
        // From a launch to a value that is dropped, without a moment in which nothing is under way.
        namespace.busy += 1;
        namespace.launches.remove(&run.name);
        Turn::First(Busy { burst: self.clone(), namespace: run.namespace.clone() })
    }

    /// Launches of a namespace are under way as long as the answer lives.
    pub(crate) fn busy(&self, namespace: &str) -> Busy {
        self.in_namespace(namespace, |namespace| namespace.busy += 1);
        Busy { burst: self.clone(), namespace: namespace.to_owned() }
    }

    /// Whether launches of a namespace are under way, and have not been for too long.
    pub(crate) fn is_busy(&self, namespace: &str) -> bool {
        self.lock().get(namespace).is_some_and(Namespace::defers)
    }

    /// Puts a reconcile off until no launches of its namespace are under way. `false` if none are, or have been for too long.
    pub(crate) fn defer(&self, what: Deferred) -> bool {
        let mut namespaces = self.lock();
        let Some(namespace) = namespaces.get_mut(what.namespace()).filter(|namespace| namespace.defers()) else {
            return false;
        };
        namespace.deferred.insert(what);
        true
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<String, Namespace>> {
        self.namespaces.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Changes what is under way in a namespace; what was deferred goes on if nothing is any more.
    fn in_namespace<T>(&self, name: &str, change: impl FnOnce(&mut Namespace) -> T) {
        let mut namespaces = self.lock();
        let namespace = namespaces.entry(name.to_owned()).or_insert_with(Namespace::new);
        change(namespace);
        if namespace.busy > 0 || !namespace.launches.is_empty() {
            return;
        }
        let ended = namespaces.remove(name);
        drop(namespaces);
        let mut turn = AFTER_BURST;
        for what in ended.into_iter().flat_map(|namespace| namespace.deferred) {
            match what {
                Deferred::Run(run) => self.runs.push_after(run, turn),
                Deferred::Workflow(workflow) => self.workflows.push_after(workflow, turn),
            }
            turn += DEFERRED_SPACING;
        }
    }
}

impl Namespace {
    fn new() -> Self {
        Self { since: Instant::now(), busy: 0, launches: HashMap::new(), held: None, deferred: HashSet::new() }
    }

    fn defers(&self) -> bool {
        self.since.elapsed() < LONGEST_DEFERRAL
    }
}

/// A launch whose outcome is still to be told. Dropped without one, it is cancelled.
#[must_use]
pub(crate) struct Launch {
    burst: Burst,
    run: RunRef,
    over: bool,
}

impl Launch {
    /// The run's object was created: its first Job follows after [`Burst::release_jobs`].
    pub(crate) fn created(mut self) {
        self.over = true;
        let now = Instant::now();
        self.burst.in_namespace(&self.run.namespace, |namespace| {
            namespace.launches.insert(self.run.name.clone(), Stage::Created(now));
            namespace.held.get_or_insert_with(|| (now, Vec::new())).1.push(self.run.clone());
        });
        self.burst.runs.push_after(self.run.clone(), LONGEST_HOLD);
    }

    /// The run's object was precreated: its first Job follows at once.
    pub(crate) fn adopted(mut self) {
        self.over = true;
        self.burst.in_namespace(&self.run.namespace, |namespace| {
            namespace.launches.insert(self.run.name.clone(), Stage::Ready);
        });
        self.burst.runs.push(self.run.clone());
    }

    /// Nothing was created: the run's own reconcile may.
    pub(crate) fn cancelled(self) {
        drop(self);
    }
}

impl Drop for Launch {
    fn drop(&mut self) {
        if !self.over {
            self.burst.in_namespace(&self.run.namespace, |namespace| namespace.launches.remove(&self.run.name));
            self.burst.runs.push(self.run.clone());
        }
    }
}

/// Something of a namespace is being launched as long as this lives.
#[must_use]
pub(crate) struct Busy {
    burst: Burst,
    namespace: String,
}

impl Drop for Busy {
    fn drop(&mut self) {
        self.burst.in_namespace(&self.namespace, |namespace| namespace.busy -= 1);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::queue::{Worklist, queue};

    fn burst() -> (Burst, Worklist<RunRef>, Worklist<NamespacedName>) {
        let ((runs, run_list), (workflows, workflow_list)) = (queue(), queue());
        (Burst::new(runs, workflows), run_list, workflow_list)
    }

    fn run(name: &str) -> RunRef {
        RunRef::new("acme", name)
    }

    fn is_held(burst: &Burst, name: &str) -> bool {
        matches!(burst.take_turn(&run(name)), Turn::Held)
    }

    #[test]
    fn jobs_follow_when_no_more_objects_are_due_or_after_the_head_start() {
        let ((burst, ..), now) = (burst(), Instant::now());
        let (a, b) = (burst.begin(&run("a")), burst.begin(&run("b")));
        assert!(is_held(&burst, "a") && matches!(burst.take_turn(&run("c")), Turn::Usual));
        a.created();
        assert!(burst.release("acme", true, now).is_empty() && burst.release("beta", false, now).is_empty());
        assert!(is_held(&burst, "a"));
        assert_eq!(burst.release("acme", true, now + 2 * HEAD_START), [run("a")]);
        let first = burst.take_turn(&run("a"));
        assert!(matches!(first, Turn::First(_)) && is_held(&burst, "b"));
        b.created();
        assert_eq!(burst.release("acme", false, now), [run("b")]);
        assert!(burst.release("acme", false, now).is_empty());
        assert!(burst.is_busy("acme"));
        drop((first, burst.take_turn(&run("b"))));
        assert!(!burst.is_busy("acme"));
    }

    #[test]
    fn a_run_that_was_not_created_can_be_created_by_its_own_reconcile() {
        let (burst, mut runs, _) = burst();
        burst.begin(&run("a")).cancelled();
        assert!(matches!(burst.take_turn(&run("a")), Turn::Usual) && !burst.is_busy("acme"));
        assert_eq!(runs.wanted(), [(run("a"), Duration::ZERO)]);
        drop(burst.begin(&run("a")));
        assert!(matches!(burst.take_turn(&run("a")), Turn::Usual) && !burst.is_busy("acme"));
    }

    #[test]
    fn the_job_of_a_precreated_object_waits_for_nothing() {
        let (burst, mut runs, _) = burst();
        let launch = burst.begin(&run("a"));
        assert!(is_held(&burst, "a"));
        launch.adopted();
        assert!(
            matches!(burst.take_turn(&run("a")), Turn::First(_)) && matches!(burst.take_turn(&run("a")), Turn::Usual)
        );
        assert_eq!(runs.wanted(), [(run("a"), Duration::ZERO)]);
    }

    #[test]
    fn a_job_that_nobody_releases_is_reconciled_in_the_end() {
        let (burst, mut runs, _) = burst();
        burst.begin(&run("a")).created();
        assert_eq!(runs.wanted(), [(run("a"), LONGEST_HOLD)]);
    }

    #[test]
    fn what_is_deferred_is_done_once_when_nothing_is_launched_any_more() {
        let (burst, mut runs, _) = burst();
        assert!(!burst.defer(Deferred::Run(run("a"))), "nothing is being launched");
        let (first, second) = (burst.busy("acme"), burst.busy("acme"));
        assert!(burst.defer(Deferred::Run(run("a"))) && burst.defer(Deferred::Run(run("a"))));
        assert!(!burst.defer(Deferred::Run(RunRef::new("beta", "a"))), "another tenant");
        drop(first);
        assert!(runs.wanted().is_empty());
        drop(second);
        assert_eq!(runs.wanted(), [(run("a"), AFTER_BURST)]);
    }

    #[test]
    fn what_was_deferred_takes_turns() {
        let (burst, mut runs, mut workflows) = burst();
        let busy = burst.busy("acme");
        for name in ["a", "b"] {
            assert!(burst.defer(Deferred::Run(run(name))));
            assert!(burst.defer(Deferred::Workflow(NamespacedName::new("acme", name))));
        }
        drop(busy);
        let runs = runs.wanted().into_iter().map(|(_, after)| after);
        let mut turns: Vec<_> = runs.chain(workflows.wanted().into_iter().map(|(_, after)| after)).collect();
        turns.sort_unstable();
        assert_eq!(turns, [0, 1, 2, 3].map(|n| AFTER_BURST + n * DEFERRED_SPACING));
    }
}
