//! Who lags: members leave just if a record that they haven't acknowledged is too old, and nobody joins who
//! would have to leave at once.

use ottla_core::partition::{IsrProposal, RoleKind};
use ottla_types::{BrokerId, Offset};

use super::Key;
use super::node::Hosted;
use super::plan::LAG_MAX_MS;
use super::world::Cluster;
use crate::Violation;
use crate::shadow::demand;

/// A lag that isn't overlooked: a leader rounds the times of its log's ends up.
const LAG_CERTAIN_MS: u64 = LAG_MAX_MS + LAG_MAX_MS / 64;

impl Hosted {
    /// The log of a leader has grown to its end now, or its epoch begins.
    pub(super) fn note_end(&mut self, now: u64, is_new_epoch: bool) {
        if is_new_epoch {
            self.ends.clear();
            self.furthest.clear();
        }
        self.ends.push((self.log.end_offset().0, now));
    }

    /// A leader has heard what a follower has.
    pub(super) fn note_word(&mut self, follower: BrokerId) {
        if let Some(acknowledged) = self.acknowledged(follower) {
            let furthest = self.furthest.entry(follower).or_insert(acknowledged);
            *furthest = acknowledged.max(*furthest);
        }
    }

    fn acknowledged(&self, follower: BrokerId) -> Option<Offset> {
        let (_, progress) = self.replica.followers().find(|(id, _)| *id == follower)?;
        Some(progress.acknowledged)
    }

    /// The age of the oldest record from this offset on, as far as it was appended in this epoch.
    fn age(&self, acknowledged: Offset, now: u64) -> u64 {
        let at = self.ends.partition_point(|(end, _)| *end <= acknowledged.0);
        self.ends.get(at).map_or(0, |(_, at)| now - at)
    }

    /// The age of the oldest record that a follower lacks by its last word; none if it hasn't said yet what
    /// it has.
    fn lag(&self, follower: BrokerId, now: u64) -> Option<u64> {
        Some(self.age(self.acknowledged(follower)?, now))
    }

    /// The age of the oldest record that a follower has never said that it has. An older question that comes
    /// late, say when a leader goes on that was stopped, takes a word back, and the leader may have forgotten
    /// how old the records are that all had: by the last word it may seem to lag by any time, though it
    /// doesn't.
    fn certain_lag(&self, follower: BrokerId, now: u64) -> Option<u64> {
        Some(self.age(*self.furthest.get(&follower)?, now))
    }

    fn members(&self) -> impl Iterator<Item = BrokerId> + use<'_> {
        self.replica.assignment().into_iter().flat_map(|assignment| assignment.isr.iter().copied())
    }
}

impl Cluster {
    /// A leader has looked for members that lag.
    pub(super) fn judge_lag(
        &self,
        n: usize,
        key: Key,
        proposal: Option<&IsrProposal>,
    ) -> Result<(), Violation> {
        let (id, now) = (self.nodes[n].id, self.now);
        let Some(hosted) = self.nodes[n].process.as_ref().and_then(|process| process.hosted.get(&key)) else {
            return Ok(());
        };
        if hosted.replica.role() != RoleKind::Leader {
            return Ok(());
        }
        for member in hosted.members().filter(|member| *member != id) {
            let is_known = hosted.replica.assignment().and_then(|assignment| assignment.peer(member));
            let leaves = proposal.is_some_and(|proposal| proposal.isr.iter().all(|(id, _)| *id != member));
            if leaves
                && is_known.is_some_and(|peer| peer.broker_epoch.is_some())
                && let Some(lag) = hosted.lag(member, now)
            {
                demand!(lag > LAG_MAX_MS, "{key:?}: broker {member} is to leave and lags by {lag} ms");
            }
            if !leaves && let Some(lag) = hosted.certain_lag(member, now) {
                demand!(lag <= LAG_CERTAIN_MS, "{key:?}: broker {member} stays and lags by {lag} ms");
            }
        }
        Ok(())
    }

    /// Somebody is to join.
    pub(super) fn judge_join(&self, n: usize, key: Key, proposal: &IsrProposal) -> Result<(), Violation> {
        let Some(hosted) = self.nodes[n].process.as_ref().and_then(|process| process.hosted.get(&key)) else {
            return Ok(());
        };
        for (joins, _) in proposal.isr.iter().filter(|(id, _)| hosted.members().all(|member| member != *id)) {
            let lag = hosted.lag(*joins, self.now).unwrap_or_default();
            demand!(lag <= LAG_CERTAIN_MS, "{key:?}: broker {joins} is to join and lags by {lag} ms");
        }
        Ok(())
    }
}
