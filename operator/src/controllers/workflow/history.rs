//! Which ended runs are deleted. Pure. Only what is ended is ever deleted, and only after the Workflow's status tells how it
//! ended; the journals stay. What a person holds stays too, and takes a place of none other.

use std::collections::BTreeSet;

use jiff::{SignedDuration, Timestamp};

use crate::cache::{Ending, RunSummary};

/// How many runs of each ending are kept if the spec does not say.
pub(super) const DEFAULT_HISTORY: usize = 12;

/// Which ended runs are kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Keep {
    /// How many succeeded runs of slots.
    pub succeeded: usize,
    /// How many runs of slots that ended otherwise.
    pub failed: usize,
    /// How long any run.
    pub ttl: Option<SignedDuration>,
}

impl Default for Keep {
    fn default() -> Self {
        Self { succeeded: DEFAULT_HISTORY, failed: DEFAULT_HISTORY, ttl: None }
    }
}

/// Runs that are counted together.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Succeeded,
    Failed,
    Again,
}

/// The runs to delete, oldest first, and when the next one's time is over.
pub(super) fn prune(keep: &Keep, runs: &[RunSummary], now: Timestamp) -> (Vec<String>, Option<Timestamp>) {
    let mut ended: Vec<_> =
        runs.iter().filter(|run| !run.held).filter_map(|run| run.ending.map(|ending| (run, ending))).collect();
    ended.sort_by(|(a, _), (b, _)| (a.slot, a.completed, &a.name).cmp(&(b.slot, b.completed, &b.name)));
    let mut names = BTreeSet::new();
    let kind = |run: &RunSummary, ending: Ending| match ending {
        // It stands for nothing that happened: whoever asked for the slot again has been told.
        Ending::AlreadyRan => run.slot.map(|_| Kind::Again),
        Ending::Succeeded => (run.ours && run.by_schedule).then_some(Kind::Succeeded),
        Ending::Failed | Ending::Cancelled => (run.ours && run.by_schedule).then_some(Kind::Failed),
    };
    for (limit, wanted) in [(keep.succeeded, Kind::Succeeded), (keep.failed, Kind::Failed), (keep.failed, Kind::Again)]
    {
        let of_kind: Vec<_> = ended.iter().filter(|(run, ending)| kind(run, *ending) == Some(wanted)).collect();
        let surplus = of_kind.len().saturating_sub(limit);
        names.extend(of_kind.into_iter().take(surplus).map(|(run, _)| run.name.as_str()));
    }
    let mut next = None;
    if let Some(ttl) = keep.ttl {
        for (run, _) in &ended {
            // What was not executed again has ended when it was asked for.
            let Some(over) = run.completed.or(run.created).and_then(|completed| completed.checked_add(ttl).ok()) else {
                continue;
            };
            if over <= now {
                names.insert(&run.name);
            } else {
                next = Some(next.map_or(over, |known: Timestamp| known.min(over)));
            }
        }
    }
    let order = ended.iter().filter(|(run, _)| names.contains(run.name.as_str()));
    (order.map(|(run, _)| run.name.clone()).collect(), next)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cache::Standing;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    fn run(name: &str, slot: Option<i64>, ending: Option<Ending>, completed: i64) -> RunSummary {
        RunSummary {
            name: name.to_owned(),
            workflow_uid: None,
            period: None,
            ours: slot.is_some(),
            by_schedule: slot.is_some(),
            slot: slot.map(at),
            held: false,
            created: None,
            precreated: false,
            begun: true,
            standing: Standing::UnderWay,
            ending,
            completed: ending.map(|_| at(completed)),
        }
    }

    #[test]
    fn only_ended_runs_of_the_schedule_are_counted_oldest_first() {
        let keep = Keep { succeeded: 1, failed: 0, ttl: None };
        let runs = [
            run("c", Some(3), Some(Ending::Succeeded), 30),
            run("a", Some(1), Some(Ending::Succeeded), 10),
            run("b", Some(2), Some(Ending::Cancelled), 20),
            run("manual", None, Some(Ending::Succeeded), 5),
            run("open", Some(0), None, 0),
        ];
        assert_eq!(prune(&keep, &runs, at(100)), (vec!["a".to_owned(), "b".to_owned()], None));
    }

    #[test]
    fn what_was_asked_for_again_takes_no_place_of_what_failed_and_does_not_stay() {
        let keep = Keep { succeeded: 9, failed: 1, ttl: None };
        let again =
            |name: &str, slot| RunSummary { by_schedule: false, ..run(name, Some(slot), Some(Ending::AlreadyRan), 1) };
        let runs = [run("failed", Some(1), Some(Ending::Failed), 10), again("x", 2), again("y", 3)];
        assert_eq!(prune(&keep, &runs, at(100)).0, ["x"]);
    }

    #[test]
    fn what_is_held_is_not_deleted() {
        let keep = Keep { succeeded: 1, failed: 0, ttl: Some(SignedDuration::from_secs(1)) };
        let held = RunSummary { held: true, ..run("held", Some(1), Some(Ending::Succeeded), 10) };
        let runs =
            [held, run("old", Some(2), Some(Ending::Failed), 20), run("new", Some(3), Some(Ending::Succeeded), 100)];
        assert_eq!(prune(&keep, &runs, at(100)), (vec!["old".to_owned()], Some(at(101))));
    }

    #[test]
    fn a_time_to_live_holds_for_every_ended_run() {
        let keep = Keep { ttl: Some(SignedDuration::from_secs(60)), ..Keep::default() };
        let runs = [
            run("old", None, Some(Ending::Failed), 30),
            run("young", Some(1), Some(Ending::Succeeded), 80),
            run("open", Some(2), None, 0),
        ];
        assert_eq!(prune(&keep, &runs, at(100)), (vec!["old".to_owned()], Some(at(140))));
    }
}
