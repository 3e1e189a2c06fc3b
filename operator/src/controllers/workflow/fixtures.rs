//! What tests of this room begin with: a schedule under the default rules, and runs of a Workflow.

use jiff::{SignedDuration, Timestamp};
use ntro_schedule::cron::Schedule;
use ntro_schedule::slots::Slots;

use super::decide::{Concurrency, DEFAULT_DEADLINE, Missed, Rules};
use super::history::Keep;
use crate::cache::{Ending, RunSummary, Standing};

pub(super) fn at(text: &str) -> Timestamp {
    text.parse().unwrap()
}

pub(super) fn rules(schedule: &str) -> Rules {
    Rules {
        slots: Slots { schedules: vec![Schedule::parse(schedule, None, "").unwrap()], ..Slots::default() },
        jitter: SignedDuration::ZERO,
        lead: SignedDuration::from_secs(30),
        suspended: false,
        deadline: DEFAULT_DEADLINE,
        missed: Missed::Latest(1),
        concurrency: Concurrency::Forbid,
        keep: Keep::default(),
    }
}

pub(super) fn month(slot: Timestamp) -> String {
    slot.strftime("%Y-%m").to_string()
}

pub(super) fn run(name: &str, slot: Option<&str>, period: &str, ending: Option<Ending>) -> RunSummary {
    RunSummary {
        name: name.to_owned(),
        workflow_uid: None,
        period: Some(period.to_owned()),
        ours: slot.is_some(),
        slot: slot.map(at),
        by_schedule: slot.is_some(),
        precreated: false,
        begun: true,
        held: false,
        created: slot.map(at),
        standing: Standing::UnderWay,
        ending,
        completed: None,
    }
}
