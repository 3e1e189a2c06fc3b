//! Whether workflow code yields: the child says when a turn of it begins and ends.

use std::time::Duration;

use tokio::sync::watch;
use tokio::time::{Instant, timeout_at};

/// Since when a turn is under way.
type Turn = Option<Instant>;

#[derive(Debug)]
pub(crate) struct Turns {
    under_way: watch::Sender<Turn>,
}

impl Turns {
    pub(crate) fn new() -> Self {
        Self { under_way: watch::Sender::new(None) }
    }

    pub(crate) fn begin(&self) {
        self.under_way.send_replace(Some(Instant::now()));
    }

    pub(crate) fn end(&self) {
        self.under_way.send_replace(None);
    }

    /// Returns once a turn took longer than `limit` and, after `late` was told, did not end within `grace` either.
    pub(crate) async fn endless(&self, limit: Duration, grace: Duration, late: impl Fn()) {
        let mut under_way = self.under_way.subscribe();
        loop {
            let begun = under_way.wait_for(Option::is_some).await.ok().and_then(|turn| *turn);
            // The sender is `self`: it is never gone.
            let Some(since) = begun else { continue };
            if over(&mut under_way, begun, since + limit).await {
                continue;
            }
            late();
            if !over(&mut under_way, begun, since + limit + grace).await {
                return;
            }
        }
    }
}

async fn over(under_way: &mut watch::Receiver<Turn>, turn: Turn, until: Instant) -> bool {
    timeout_at(until, under_way.wait_for(|now| *now != turn)).await.is_ok()
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use super::*;

    const LIMIT: Duration = Duration::from_millis(60);
    const GRACE: Duration = Duration::from_millis(40);

    #[tokio::test]
    async fn a_turn_that_does_not_end_is_found_and_after_the_grace() {
        let (turns, told) = (Turns::new(), Cell::new(0));
        turns.begin();
        turns.end();
        turns.begin();
        let begun = Instant::now();
        turns.endless(LIMIT, GRACE, || told.set(told.get() + 1)).await;
        assert_eq!(told.get(), 1);
        assert!(begun.elapsed() >= GRACE);
    }

    #[tokio::test]
    async fn turns_that_end_are_none_of_it_however_many() {
        let turns = Turns::new();
        let told = Cell::new(0);
        let busy = async {
            for _ in 0..6 {
                turns.begin();
                tokio::time::sleep(LIMIT / 3).await;
                turns.end();
            }
            // One that ends in the grace.
            turns.begin();
            while told.get() == 0 {
                tokio::task::yield_now().await;
            }
            turns.end();
        };
        let endless = turns.endless(LIMIT, Duration::from_hours(1), || told.set(told.get() + 1));
        tokio::select! {
            () = busy => {}
            () = endless => panic!("no turn was endless"),
        }
        assert_eq!(told.get(), 1);
    }
}
