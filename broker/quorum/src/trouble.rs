//! What is wrong with the metadata quorum as far as a node knows, in words for people, with what to do.

use std::collections::BTreeSet;
use std::time::Duration;

use ottla_types::BrokerId;

use crate::elections::is_quorum;
use crate::node::{Node, Running};

/// How long an absence isn't worth a word.
const AFTER: Duration = Duration::from_secs(10);

const REMEDY: &str = "`ottla quorum recover` shows which broker knows what, and rebuilds the quorum";

impl Node {
    /// What is wrong with the quorum; none if nothing is, or if this node only just started.
    pub fn trouble(&self) -> Option<String> {
        let me = self.config.node_id;
        if let (Some(ours), Some(conflict)) = (self.memory.lineage(), self.memory.conflict()) {
            return Some(format!(
                "broker {me} follows the metadata quorum {}, and there is another one of this cluster, {} ({}): mostly a \
                 voter has lost its disk and formed an empty one. {REMEDY}",
                ours.id, conflict.theirs, conflict.told_by
            ));
        }
        let running = self.running.get().filter(|_| self.began.elapsed() > AFTER)?;
        if self.is_active() {
            return (!self.reaches_a_majority(running)).then(|| {
                format!("broker {me} reaches no majority of the metadata quorum: start its voters. If their disks are \
                         lost for good: {REMEDY}")
            });
        }
        if running.elections.heard_within(AFTER) {
            return None;
        }
        if self.memory.log_is_gone() && !self.has_log() {
            return Some(format!(
                "broker {me} has lost its log of the metadata, and no active controller sends it again. {REMEDY}"
            ));
        }
        self.is_initialized().then(|| {
            format!(
                "broker {me} hears of no active controller of the metadata quorum: start its voters. If their disks are \
                 lost for good: {REMEDY}"
            )
        })
    }

    /// Whether a majority of the voters answered lately.
    fn reaches_a_majority(&self, running: &Running) -> bool {
        let server = running.raft.server_metrics().borrow().clone();
        let membership = server.membership_config.membership();
        let there: BTreeSet<BrokerId> = membership
            .voter_ids()
            .filter(|id| {
                let identity = membership.get_node(id).map(|member| member.identity);
                *id == self.config.node_id
                    || identity.is_some_and(|identity| self.contacts.answered_within(*id, identity, AFTER))
            })
            .collect();
        is_quorum(membership.get_joint_config(), &there)
    }
}
