//! How a pod leaves, from how its child ended and what else is known.

use crate::exit_code::ExitCode;
use crate::reaper::Ended;

/// What is known when the child has ended.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Known {
    pub(crate) ended: Ended,
    /// The child has ended the segment in order.
    pub(crate) released: bool,
    pub(crate) verdict: Option<ExitCode>,
    /// The pod was told to go.
    pub(crate) stopping: bool,
}

/// None if the child crashed.
pub(crate) fn outcome(it: Known) -> Option<ExitCode> {
    let said = match it.ended {
        Ended::Exit(status) => ExitCode::of_status(status),
        Ended::Signal(_) => None,
    };
    let in_order = said.filter(|code| matches!(code, ExitCode::Ok | ExitCode::Blocked | ExitCode::Config));
    if it.released && in_order.is_some() {
        // A poll that was still under way hears that the segment is over: it is, by our own word.
        return in_order;
    }
    if it.verdict.is_some() {
        return it.verdict;
    }
    if it.stopping && said != Some(ExitCode::Ok) {
        return Some(ExitCode::Terminated);
    }
    // Refused before it could speak: no Landlock. Of an outage and a fence process 1 knows by itself: a bundle that leaves with
    // their codes has crashed, for an outage counts as no attempt.
    said.filter(|code| *code == ExitCode::Config && !it.released)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_the_journal_knows_is_an_end_in_order() {
        let base = Known { ended: Ended::Exit(0), released: false, verdict: None, stopping: false };
        let exit = |status| Known { ended: Ended::Exit(status), ..base };
        let released = |status| Known { released: true, ..exit(status) };
        assert_eq!(outcome(released(0)), Some(ExitCode::Ok));
        assert_eq!(outcome(released(70)), Some(ExitCode::Blocked));
        assert_eq!(outcome(released(3)), None);
        assert_eq!(outcome(exit(0)), None);
        assert_eq!(outcome(exit(70)), None);
        assert_eq!(outcome(exit(75)), None, "its verdict would say so");
        assert_eq!(outcome(exit(77)), None);
        assert_eq!(outcome(exit(78)), Some(ExitCode::Config));
        assert_eq!(outcome(Known { ended: Ended::Signal(9), released: true, ..base }), None);
    }

    #[test]
    fn a_verdict_counts_unless_the_segment_was_ended_and_a_stop_explains_the_rest() {
        let fenced = Some(ExitCode::Fenced);
        let base = Known { ended: Ended::Signal(9), released: false, verdict: fenced, stopping: true };
        assert_eq!(outcome(base), fenced);
        assert_eq!(outcome(Known { ended: Ended::Exit(0), released: true, ..base }), Some(ExitCode::Ok));
        assert_eq!(outcome(Known { verdict: None, ..base }), Some(ExitCode::Terminated));
        assert_eq!(outcome(Known { verdict: None, ended: Ended::Exit(0), ..base }), None);
    }
}
