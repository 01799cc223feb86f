//! Who lags: members leave just if a record that they haven't acknowledged is too old, and nobody joins who would have to
//! leave at once.

use ottla_core::partition::{IsrProposal, RoleKind};
use ottla_types::BrokerId;

use super::Key;
use super::node::Hosted;
use super::plan::{HEARTBEAT_MS, LAG_MAX_MS};
use super::world::Cluster;
use crate::Violation;
use crate::shadow::demand;

/// A lag that can't be overlooked. A message that was overtaken takes a follower's word back for a moment, which begins its lag
/// anew at the leader's next look.
const LAG_CERTAIN_MS: u64 = 2 * LAG_MAX_MS + HEARTBEAT_MS;

impl Hosted {
    /// The log of a leader has grown to its end now, or its epoch begins.
    pub(super) fn note_end(&mut self, now: u64, is_new_epoch: bool) {
        if is_new_epoch {
            self.ends.clear();
        }
        self.ends.push((self.log.end_offset().0, now));
    }

    /// The age of the oldest record that a follower lacks, as far as it was appended in this epoch; none if it hasn't
    /// said yet what it has.
    fn lag(&self, follower: BrokerId, now: u64) -> Option<u64> {
        let (_, progress) = self.replica.followers().find(|(id, _)| *id == follower)?;
        let at = self.ends.partition_point(|(end, _)| *end <= progress.acknowledged.0);
        Some(self.ends.get(at).map_or(0, |(_, at)| now - at))
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
            let Some(lag) = hosted.lag(member, now) else { continue };
            let is_known = hosted.replica.assignment().and_then(|assignment| assignment.peer(member));
            let leaves = proposal.is_some_and(|proposal| proposal.isr.iter().all(|(id, _)| *id != member));
            if leaves && is_known.is_some_and(|peer| peer.broker_epoch.is_some()) {
                demand!(lag > LAG_MAX_MS, "{key:?}: broker {member} is to leave and lags by {lag} ms");
            }
            if !leaves {
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
