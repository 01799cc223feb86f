//! A metadata quorum whose only voter loses its disk. What it had decided is on the other brokers' disks,
//! which remember the quorum: the voter that comes back empty forms no new one, nothing is decided any more,
//! and an administrator has the newest metadata that any broker has carried on.
//!
//! That nobody forms a quorum or follows another one against such a memory is `ottla-quorum`'s, and tested
//! with real processes there; here it is what the model does, so that brokers live through the time without a
//! controller.

use ottla_types::MetadataVersion;

use super::trace::say;
use super::world::{Cluster, Event};
use crate::Violation;
use crate::shadow::demand;

/// How soon an administrator looks again for brokers that don't answer: they might have newer metadata.
const LOOK_AGAIN_MS: u64 = 300;

impl Cluster {
    /// Whether this broker's disk is all that the quorum's log is on, and some other broker has read all of
    /// it.
    pub(super) fn may_lose_quorum(&self, n: usize) -> bool {
        self.plan.sole_voter == Some(n) && !self.quorum.is_lost && self.is_known_without(n)
    }

    /// Whether the quorum's log is lost and all of it was read by this broker alone: nobody could carry on
    /// what two lost disks take.
    pub(super) fn is_all_that_is_left_of_quorum(&self, n: usize) -> bool {
        self.quorum.is_lost && !self.is_known_without(n)
    }

    /// Whether some other broker than this one has read all of the quorum's log.
    fn is_known_without(&self, n: usize) -> bool {
        let newest = self.quorum.images.len() - 1;
        (0..self.nodes.len()).any(|other| other != n && self.nodes[other].metadata == newest)
    }

    /// The disk with the quorum's log is gone.
    pub(super) fn lose_quorum(&mut self) {
        say!(self, "the quorum's log is lost");
        self.quorum.lose();
        let delay = 200 + self.rng.below(2_000);
        self.after(delay, Event::Recover);
    }

    /// An administrator looks for the newest metadata, once all brokers say what they have, and has it
    /// carried on.
    pub(super) fn recover_quorum(&mut self) -> Result<(), Violation> {
        let answered: Vec<usize> = (0..self.nodes.len())
            .filter(|n| self.nodes[*n].process.is_some() && self.nodes[*n].paused_until <= self.now)
            .collect();
        if answered.len() < self.nodes.len() {
            self.after(LOOK_AGAIN_MS, Event::Recover);
            return Ok(());
        }
        let best = answered.into_iter().max_by_key(|n| self.nodes[*n].metadata).expect("there are brokers");
        let found = self.nodes[best].metadata;
        let lost = self.quorum.images.len() - 1;
        demand!(found == lost, "the quorum had decided {lost} times, and no broker knows more than {found}");
        let mut image = self.quorum.images[found].clone();
        image.apply(MetadataVersion(image.version.0 + 1), &[]);
        say!(self, "the quorum goes on from what broker {} has", self.nodes[best].id);
        self.report.recovered += 1;
        self.quorum.go_on(image, self.now);
        (0..self.nodes.len()).for_each(|node| self.send_images(node));
        Ok(())
    }
}
