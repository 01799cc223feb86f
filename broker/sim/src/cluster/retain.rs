//! Retention: records become old, or are from the start, and brokers delete them, as far as they are
//! acknowledged.

use ottla_core::partition::FetchAnswer;

use super::Key;
use super::node::facts;
use super::plan::Retention;
use super::trace::say;
use super::world::Cluster;
use crate::Violation;
use crate::shadow::demand;

/// The time of day when a run begins, in ms.
const BEGIN_MS: i64 = 1_000_000_000;
/// The time between a segment's records, longer than a run.
pub(super) const SEGMENT_MS: i64 = 120_000;

impl Cluster {
    /// The time that a producer gives its records: the present one, or a very old one. Old ones lie so far
    /// apart that segments are closed by time.
    pub(super) fn record_time(&mut self) -> i64 {
        let Some(retention) = self.plan.retention else { return BEGIN_MS };
        if !self.aging.percent(retention.old_percent) {
            return self.time_of_day();
        }
        (1_000 + self.judge.sent.len() as i64 * (SEGMENT_MS + 1_000)).min(BEGIN_MS / 2)
    }

    pub(super) fn time_of_day(&self) -> i64 {
        i64::try_from(self.now).expect("runs are short") + BEGIN_MS
    }

    /// A broker deletes what is old by its clock, now and then.
    pub(super) fn retain(&mut self, n: usize) -> Result<(), Violation> {
        let Some(retention) = self.plan.retention else { return Ok(()) };
        if !self.aging.percent(retention.sweeps_percent) {
            return Ok(());
        }
        for key in self.hosted_keys(n) {
            self.retain_partition(n, key, retention)?;
        }
        Ok(())
    }

    fn retain_partition(&mut self, n: usize, key: Key, retention: Retention) -> Result<(), Violation> {
        let now_ms = self.time_of_day() + self.nodes[n].clock_ms;
        let Some(hosted) = self.nodes[n].hosted(key) else { return Ok(()) };
        let log = hosted.log.clone();
        let (before, limit) = (log.log_start_offset(), hosted.replica.retention_limit(facts(&log)));
        let mut deleted = log.enforce_retention(now_ms, limit);
        while log.learn_age(now_ms, limit) {
            deleted += log.enforce_retention(now_ms, limit);
        }
        if deleted == 0 {
            return Ok(());
        }
        let start = log.log_start_offset();
        say!(self, "broker {} lets go {before}..{start} of {:?}", self.nodes[n].id, super::Named(key));
        if let Some(shadow) = self.nodes[n].shadows.get(&key).filter(|shadow| !shadow.is_damaged) {
            let gone = shadow.marks.iter().filter(|mark| mark.base >= before.0 && mark.next <= start.0);
            let young = gone.clone().find(|mark| now_ms - mark.time_ms <= retention.after_ms);
            demand!(young.is_none(), "{key:?}: {young:?} is let go and isn't old");
            self.report.let_go += gone.count() as u64;
        }
        self.commit_soon(n);
        self.on_log_start(n, key)
    }

    /// A follower lets go what its leader has let go.
    pub(super) fn keep_start(&mut self, n: usize, key: Key, answer: &FetchAnswer) -> Result<(), Violation> {
        let Some(hosted) = self.nodes[n].hosted(key) else { return Ok(()) };
        let Some(start) = hosted.replica.start_by(answer, facts(&hosted.log)) else { return Ok(()) };
        hosted.log.advance_log_start(start);
        if hosted.log.log_start_offset() < start {
            // The disk has failed.
            return Ok(());
        }
        self.on_log_start(n, key)
    }

    fn on_log_start(&mut self, n: usize, key: Key) -> Result<(), Violation> {
        let Some(hosted) = self.nodes[n].hosted(key) else { return Ok(()) };
        let log = facts(&hosted.log);
        let change = hosted.replica.on_log_start(log);
        // Whoever waits is answered first: that is what must not be a false success.
        self.after_change(n, key, &change)?;
        let Some(shadow) = self.nodes[n].shadows.get_mut(&key) else { return Ok(()) };
        shadow.start = log.start.0;
        let is_damaged = shadow.is_damaged;
        self.judge.on_log_start(key, self.nodes[n].id, log.start.0, is_damaged)
    }
}
