//! Time as something that is passed in, so that decisions can be tested at any instant. The journal and the controllers
//! share one clock.

pub use ntro_journal::clock::{Clock, SystemClock, TestClock};
