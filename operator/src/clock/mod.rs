//! Time as something that is passed in, so that decisions can be tested at any instant. The journal and the controllers
//! share one clock.

mod jump;

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

pub(crate) use jump::{ClockJump, INTERVAL};
pub(crate) use ntro_journal::clock::{Clock, SystemClock};

/// A time as the API server keeps it: in whole seconds.
pub(crate) fn whole_seconds(at: Timestamp) -> Time {
    Time(Timestamp::from_second(at.as_second()).unwrap_or(at))
}
