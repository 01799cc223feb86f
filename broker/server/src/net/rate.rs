//! A limit on how often something is logged, so that a flood of bad input isn't a flood of lines.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

/// Lets a number of events through each second and counts the others.
#[derive(Debug)]
pub struct RateLimit {
    per_second: u64,
    started: Instant,
    /// The second (upper 32 bits) and the events let through in it (lower 32 bits).
    state: AtomicU64,
    suppressed: AtomicU64,
}

impl RateLimit {
    /// A limit of `per_second` events.
    pub fn new(per_second: u32) -> Self {
        Self {
            per_second: u64::from(per_second),
            started: Instant::now(),
            state: AtomicU64::new(0),
            suppressed: AtomicU64::new(0),
        }
    }

    /// Whether an event may be told now; if so, how many before it were not.
    pub fn allow(&self) -> Option<u64> {
        self.allow_at(self.started.elapsed().as_secs())
    }

    fn allow_at(&self, second: u64) -> Option<u64> {
        let count = |state: u64| if state >> 32 == second { state & 0xffff_ffff } else { 0 };
        if self
            .state
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |state| {
                (count(state) < self.per_second).then(|| second << 32 | (count(state) + 1))
            })
            .is_ok()
        {
            return Some(self.suppressed.swap(0, Ordering::Relaxed));
        }
        self.suppressed.fetch_add(1, Ordering::Relaxed);
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_second_lets_its_number_through_and_tells_of_the_others() {
        let limit = RateLimit::new(2);
        let got: Vec<_> = [0, 0, 0, 0, 1, 1, 1].map(|second| limit.allow_at(second)).into();
        assert_eq!(got, [Some(0), Some(0), None, None, Some(2), Some(0), None]);
    }
}
