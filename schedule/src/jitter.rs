//! How much later than its slot a run starts: always the same for a Workflow, so that its runs keep their distance.

use jiff::SignedDuration;
use sha2::{Digest, Sha256};

/// Whole seconds from zero to below `most`. The same `seed` (`namespace/name`) gives the same for ever.
pub fn of(seed: &str, most: SignedDuration) -> SignedDuration {
    let Some(most) = u64::try_from(most.as_secs()).ok().filter(|most| *most > 0) else { return SignedDuration::ZERO };
    let digest = Sha256::digest(format!("{seed}\njitter").as_bytes());
    let number = digest.iter().take(8).fold(0_u64, |value, byte| value << 8 | u64::from(*byte));
    SignedDuration::from_secs(i64::try_from(number % most).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn jitter_is_within_bounds_and_differs_by_name() {
        let hour = SignedDuration::from_hours(1);
        let all: std::collections::BTreeSet<_> = (0..100).map(|n| of(&format!("acme/spv{n}"), hour)).collect();
        assert!(all.len() > 90 && all.iter().all(|jitter| *jitter < hour && !jitter.is_negative()));
        assert_eq!(of("acme/nav", hour), of("acme/nav", hour));
        assert_eq!(of("acme/nav", SignedDuration::ZERO), SignedDuration::ZERO);
    }
}
