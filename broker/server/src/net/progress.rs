//! Whether a peer keeps the pace at which bytes have to come or to be taken: so many in each interval.
//!
//! There is no limit on the whole: what is large may take long, as long as it moves.

use std::time::{Duration, Instant};

/// The slowest pace that is borne.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Pace {
    /// So many bytes, or all that is left if that is less …
    pub bytes: usize,
    /// … have to move in this time.
    pub interval: Duration,
}

/// How one peer keeps its pace.
#[derive(Debug, Clone)]
pub struct Progress {
    pace: Pace,
    since: Instant,
    moved: usize,
}

impl Progress {
    /// Begins a first interval.
    pub fn new(pace: Pace, now: Instant) -> Self {
        Self { pace, since: now, moved: 0 }
    }

    /// When the peer is too slow, unless enough moves before.
    pub fn deadline(&self) -> Instant {
        self.since + self.pace.interval
    }

    /// Takes note of `bytes` that have moved. Enough of them begin another interval.
    pub fn moved(&mut self, bytes: usize, now: Instant) {
        self.moved += bytes;
        if self.moved >= self.pace.bytes {
            self.restart(now);
        }
    }

    /// Begins another interval, as after a time in which the peer could do nothing.
    pub fn restart(&mut self, now: Instant) {
        self.since = now;
        self.moved = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PACE: Pace = Pace { bytes: 100, interval: Duration::from_secs(10) };

    #[test]
    fn who_is_slow_and_steady_is_never_late() {
        let start = Instant::now();
        let mut progress = Progress::new(PACE, start);
        for step in 1..1_000 {
            let now = start + Duration::from_secs(step);
            assert!(now < progress.deadline(), "late after {step} s");
            progress.moved(13, now);
        }
    }

    #[test]
    fn who_only_trickles_is_late_after_one_interval() {
        let start = Instant::now();
        let mut progress = Progress::new(PACE, start);
        for step in 1..10 {
            progress.moved(1, start + Duration::from_secs(step));
        }
        assert_eq!(progress.deadline(), start + PACE.interval);
        progress.restart(start + Duration::from_secs(9));
        assert_eq!(progress.deadline(), start + Duration::from_secs(19));
    }
}
