//! What a follower knows, what it asks its leader for, and what can come of the answer.
//!
//! Not here: what a replica does as a follower; that is `follower`.

use ottla_types::{BrokerId, LeaderEpoch, Offset};

use super::leader_state::FetchVerdict;

/// A follower of this leader in the assignment's epoch.
#[derive(Clone, Debug)]
pub(super) struct FollowerState {
    pub(super) leader: BrokerId,
    /// How far the leader said in this epoch that records are acknowledged, of the log that both agree on.
    pub(super) leader_high_watermark: Offset,
}

impl FollowerState {
    pub(super) fn new(leader: BrokerId) -> Self {
        Self { leader, leader_high_watermark: Offset(0) }
    }
}

/// What a follower asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FetchSpec {
    /// Whom.
    pub leader: BrokerId,
    /// In which epoch.
    pub leader_epoch: LeaderEpoch,
    /// From where: the synced end of its log, which this acknowledges.
    pub fetch_offset: Offset,
    /// The epoch of its last record; none if it has none.
    pub last_epoch: Option<LeaderEpoch>,
    /// Where its log begins.
    pub log_start: Offset,
    /// The high watermark that it knows.
    pub high_watermark: Offset,
}

/// A leader's answer to one [`FetchSpec`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FetchAnswer {
    /// What was asked.
    pub asked: FetchSpec,
    /// The leader's word.
    pub verdict: FetchVerdict,
    /// The leader's high watermark.
    pub high_watermark: Offset,
    /// Where the leader's log begins.
    pub log_start: Offset,
}

/// What a follower does with an answer; carried out before anything else happens to the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FollowerStep {
    /// The answer is to a question that isn't asked any more: nothing.
    Ignore,
    /// Append the records, if there are any, up to the first batch of a later epoch than this, then call
    /// [`super::Replica::on_appended`]; the high watermark follows once they are synced. A leader that is
    /// deposed before it sends its answer may send what its successor wrote, and what lies before that may
    /// differ here.
    Append(LeaderEpoch),
    /// Remove all from this offset on, durably, then [`super::Replica::on_truncated`]; then ask again.
    Truncate(Offset),
    /// Remove everything and begin at this offset, durably, then [`super::Replica::on_truncated`]; then ask
    /// again.
    Reset(Offset),
}
