//! When a leader's log had which end: a follower lags by the age of the oldest record that it hasn't
//! acknowledged.

use std::collections::VecDeque;

use ottla_types::{Offset, PlantedBug, planted};

/// The number of samples within the longest lag that is allowed.
const STEPS: u64 = 64;
/// No more samples are kept. Steps are rounded down to whole milliseconds, so there may be nearly twice as
/// many.
const SAMPLES_MAX: usize = 2 * STEPS as usize + 4;
/// What an idle partition may keep allocated.
const IDLE_SAMPLES_MAX: usize = 4;

/// A few samples of a log's end. They reach back as far as the longest lag that is let pass, so there are
/// never more than some 70, and none where all followers have everything.
#[derive(Clone, Debug)]
pub(super) struct EndTimes {
    /// The longest lag that is let pass, in ms.
    lag_max_ms: u64,
    /// The log's end, and the end of the step in which it was that; both rise.
    samples: VecDeque<(Offset, u64)>,
    /// Records before this one came before the first sample, nobody knows when: all followers of that time
    /// had them.
    unknown_before: Offset,
}

impl EndTimes {
    pub(super) fn new(lag_max_ms: u64) -> Self {
        Self { lag_max_ms, samples: VecDeque::new(), unknown_before: Offset(0) }
    }

    /// The log has this end now. Less than a sample says is old news, as appends may overtake each other on
    /// their way here.
    pub(super) fn note(&mut self, end: Offset, now_ms: u64) {
        // Rounded up, so that no record is ever thought older than it is.
        let at = now_ms.next_multiple_of((self.lag_max_ms / STEPS).max(1));
        match self.samples.back_mut() {
            Some((known, _)) if *known >= end => {}
            Some((known, last)) if *last >= at => *known = end,
            _ => {
                self.forget_old(now_ms);
                self.samples.push_back((end, at));
            }
        }
        assert!(self.samples.len() <= SAMPLES_MAX, "samples as old as the longest lag are forgotten");
    }

    /// If the second sample is already too old, the first says nothing more.
    fn forget_old(&mut self, now_ms: u64) {
        while self.samples.get(1).is_some_and(|(_, at)| self.is_too_old(*at, now_ms)) {
            self.samples.pop_front();
        }
    }

    fn is_too_old(&self, at: u64, now_ms: u64) -> bool {
        now_ms.saturating_sub(at) > self.lag_max_ms
    }

    /// To be called now and then with the log's end, whether it was noted or not, and how much all followers
    /// have; none if there are none.
    pub(super) fn tidy(&mut self, end: Offset, acknowledged: Option<Offset>, now_ms: u64) {
        if acknowledged.is_none_or(|acknowledged| acknowledged >= end) {
            self.samples = VecDeque::new();
            self.unknown_before = end;
            return;
        }
        self.note(end, now_ms);
        self.forget_old(now_ms);
        if self.samples.len() < IDLE_SAMPLES_MAX {
            self.samples.shrink_to(IDLE_SAMPLES_MAX);
        }
    }

    /// Whether who has acknowledged all before this offset lags for too long.
    pub(super) fn lags(&self, acknowledged: Offset, now_ms: u64) -> bool {
        self.oldest_lacking(acknowledged).is_some_and(|(_, at)| self.is_too_old(*at, now_ms))
    }

    /// The first sample of records that are lacking.
    fn oldest_lacking(&self, acknowledged: Offset) -> Option<&(Offset, u64)> {
        let mut lacking = self.samples.iter().filter(|(end, _)| *end > acknowledged);
        if planted(PlantedBug::LagByNewestRecord) {
            return lacking.next_back();
        }
        if planted(PlantedBug::LagUntilAllIsThere) {
            return lacking.next().and(self.samples.front());
        }
        lacking.next()
    }

    /// Whether it is known how old the records are that who has acknowledged all before this offset lacks.
    pub(super) fn is_age_known(&self, acknowledged: Offset) -> bool {
        acknowledged >= self.unknown_before
    }

    /// Whether so much time has passed since `then`.
    pub(super) fn is_too_long_since(&self, then_ms: u64, now_ms: u64) -> bool {
        self.is_too_old(then_ms, now_ms)
    }

    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.samples.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn few_samples_tell_the_age_of_any_record() {
        let mut times = EndTimes::new(3_000);
        // One record each millisecond for a minute: the record `offset` came at the time `offset`.
        for now in 0..60_000 {
            times.note(Offset(now + 1), now as u64);
            assert!(times.len() <= 70, "{}", times.len());
            for late in [0, 1, 2_990, 3_000] {
                assert!(!times.lags(Offset(now - late), now as u64), "{late} ms is not too long");
            }
            if now > 3_100 {
                assert!(times.lags(Offset(now - 3_100), now as u64));
                assert!(times.lags(Offset(0), now as u64), "much longer");
            }
        }
    }

    #[test]
    fn what_all_have_leaves_no_sample() {
        let mut times = EndTimes::new(3_000);
        (0..5_000).for_each(|now| times.note(Offset(now + 1), now as u64));
        times.tidy(Offset(5_000), Some(Offset(4_999)), 5_000);
        assert!(times.len() > 60);
        times.tidy(Offset(5_000), Some(Offset(4_999)), 60_000);
        assert_eq!(times.len(), 1, "the one that says that somebody lags");
        assert!(times.lags(Offset(4_999), 60_000) && !times.lags(Offset(5_000), 60_000));
        times.tidy(Offset(5_000), Some(Offset(5_000)), 60_500);
        assert_eq!((times.len(), times.samples.capacity()), (0, 0));
    }

    #[test]
    fn an_end_that_nobody_noted_counts_from_the_next_look() {
        let mut times = EndTimes::new(3_000);
        times.tidy(Offset(9), Some(Offset(4)), 1_000);
        assert!(!times.lags(Offset(4), 4_000) && times.lags(Offset(4), 4_100));
    }
}
