//! What a leader knows: followers' progress, how far the high watermark may be, who may be in sync.
//!
//! Not here: what a replica does as the leader; that is `leader`.

use std::collections::BTreeMap;

use ottla_types::{
    BrokerEpoch, BrokerId, DirectoryId, LeaderEpoch, Offset, PartitionEpoch, PlantedBug, planted,
};

use super::assignment::{Assignment, Peer};
use super::lag::EndTimes;
use super::log_facts::LogFacts;

/// What a leader knows in its epoch.
#[derive(Clone, Debug)]
pub(super) struct LeaderState {
    /// The log's end when the epoch began.
    pub(super) epoch_start: Offset,
    began_ms: u64,
    /// When the log had which end.
    pub(super) ends: EndTimes,
    /// Those that have said something in this epoch.
    pub(super) followers: BTreeMap<BrokerId, FollowerProgress>,
    /// What was proposed and isn't settled. Invariant: it is based on this epoch and on no later state than
    /// the one that is followed.
    pub(super) pending: Option<IsrProposal>,
}

/// How far a follower is, as it said in this epoch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FollowerProgress {
    /// The end of its log, all of which it has synced. Less than before when the log was cut meanwhile.
    pub acknowledged: Offset,
    /// Its registration when it said so.
    pub broker_epoch: BrokerEpoch,
}

/// Another set of replicas in sync, to be proposed to the controller with the epochs that it is based on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IsrProposal {
    /// The epoch of the leader that proposes.
    pub leader_epoch: LeaderEpoch,
    /// The state that is to be changed; any other refuses it.
    pub partition_epoch: PartitionEpoch,
    /// Who shall be in sync, with the registration that each is known by.
    pub isr: Vec<(BrokerId, BrokerEpoch)>,
}

/// A follower asks for records.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FollowerFetch {
    /// Who asks.
    pub broker: BrokerId,
    /// Its registration.
    pub broker_epoch: BrokerEpoch,
    /// Its disk.
    pub directory: DirectoryId,
    /// The leader epoch that it follows.
    pub leader_epoch: LeaderEpoch,
    /// The end of its log, all of which is synced.
    pub fetch_offset: Offset,
    /// The epoch of its last record; none if it has no records.
    pub last_epoch: Option<LeaderEpoch>,
}

/// What a follower is to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FetchVerdict {
    /// It may have the records from its fetch offset on, to the log's end.
    Read,
    /// Its log differs: at most up to this end of this epoch both are the same.
    Diverging {
        /// The leader's greatest epoch up to the follower's last one.
        epoch: LeaderEpoch,
        /// Where that epoch ends in the leader's log.
        end_offset: Offset,
    },
    /// What it needs next is gone: the leader's log begins later.
    BehindLogStart,
}

/// Why a follower gets nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FetchRefusal {
    /// NOT_LEADER_OR_FOLLOWER
    NotLeader,
    /// FENCED_LEADER_EPOCH: it follows an older epoch.
    FencedLeaderEpoch,
    /// UNKNOWN_LEADER_EPOCH: it follows an epoch that isn't known here yet.
    UnknownLeaderEpoch,
    /// It holds no replica of this partition, or has another disk than the replica was put on.
    NotReplica,
    /// It has registered again since.
    StaleBrokerEpoch,
}

/// Why records aren't taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AppendRefusal {
    /// NOT_LEADER_OR_FOLLOWER
    NotLeader,
    /// NOT_ENOUGH_REPLICAS
    NotEnoughReplicas {
        /// How many are in sync.
        in_sync: usize,
        /// How many have to be.
        minimum: usize,
    },
}

/// Whether a record may be acknowledged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Committed {
    /// It may.
    Yes,
    /// Not yet.
    Waiting,
    /// Not yet, and it can't before more replicas are in sync.
    UnderMinimum,
    /// Another epoch has begun: nobody knows here.
    Unknown,
}

impl LeaderState {
    pub(super) fn new(epoch_start: Offset, lag_max_ms: u64, now_ms: u64, kept: Option<Self>) -> Self {
        let followers = kept.map(|kept| kept.followers).unwrap_or_default();
        let mut ends = EndTimes::new(lag_max_ms);
        ends.note(epoch_start, now_ms);
        Self { epoch_start, began_ms: now_ms, ends, followers, pending: None }
    }

    /// A proposal is settled once the partition's state is a newer one.
    pub(super) fn on_state(&mut self, partition_epoch: PartitionEpoch) {
        self.pending.take_if(|pending| pending.is_settled_by(partition_epoch));
    }

    /// How far the high watermark may be; none while nothing can be said.
    pub(super) fn high_watermark(
        &self,
        me: BrokerId,
        assignment: &Assignment,
        log: LogFacts,
    ) -> Option<Offset> {
        assert_eq!(assignment.leader, Some(me), "only the leader works out the high watermark");
        if assignment.is_under_minimum() {
            return None;
        }
        let mut least = own_acknowledged(log);
        for member in self.members_that_count(assignment).filter(|member| *member != me) {
            least = least.min(self.acknowledged(member)?);
        }
        Some(least)
    }

    /// The members of today, those included whose leaving isn't committed, and those whose joining is
    /// proposed.
    pub(super) fn members_that_count(&self, assignment: &Assignment) -> impl Iterator<Item = BrokerId> {
        let joining = self.pending.iter().flat_map(|pending| &pending.isr).map(|member| member.0);
        let joining = joining.filter(|_| !planted(PlantedBug::IgnoreJoiningMembers));
        let members = assignment.isr.iter().copied().chain(joining);
        members.filter(|member| !(planted(PlantedBug::DropLeavingMembersEarly) && self.is_leaving(*member)))
    }

    fn is_leaving(&self, member: BrokerId) -> bool {
        self.pending.as_ref().is_some_and(|pending| pending.isr.iter().all(|(id, _)| *id != member))
    }

    /// Up to here a member has acknowledged; none if it hasn't said anything in this epoch.
    fn acknowledged(&self, member: BrokerId) -> Option<Offset> {
        let said = self.followers.get(&member).map(|progress| progress.acknowledged);
        if planted(PlantedBug::IgnoreSilentMembers) { said.or(Some(Offset(i64::MAX))) } else { said }
    }

    /// Whether this follower may join those in sync. A follower that would be removed again at once isn't
    /// admitted: the high watermark may be far behind, where too few are in sync.
    pub(super) fn may_join(&self, peer: &Peer, high_watermark: Offset, now_ms: u64) -> bool {
        let Some(progress) = self.followers.get(&peer.broker) else { return false };
        peer.may_join
            && peer.broker_epoch == Some(progress.broker_epoch)
            && has_reached_high_watermark(progress, high_watermark)
            && self.has_reached_epoch_start(progress)
            && self.keeps_up(progress.acknowledged, now_ms)
    }

    fn has_reached_epoch_start(&self, progress: &FollowerProgress) -> bool {
        progress.acknowledged >= self.epoch_start || planted(PlantedBug::JoinBelowEpochStart)
    }

    /// Whether who has acknowledged all before this offset is known to lack nothing that is too old.
    fn keeps_up(&self, acknowledged: Offset, now_ms: u64) -> bool {
        let keeps_up = self.ends.is_age_known(acknowledged) && !self.ends.lags(acknowledged, now_ms);
        keeps_up || planted(PlantedBug::JoinWhileLagging)
    }

    /// Whether this member lags for so long that it holds up the others: what it hasn't acknowledged is too
    /// old, or it hasn't said anything yet.
    pub(super) fn lags(&self, member: BrokerId, now_ms: u64) -> bool {
        match self.followers.get(&member) {
            Some(progress) => self.ends.lags(progress.acknowledged, now_ms),
            None => self.ends.is_too_long_since(self.began_ms, now_ms),
        }
    }
}

impl IsrProposal {
    /// Whether the partition's state is newer than the one that this is based on.
    fn is_settled_by(&self, partition_epoch: PartitionEpoch) -> bool {
        self.partition_epoch < partition_epoch || planted(PlantedBug::SettleProposalsByAnyImage)
    }
}

/// How much the leader itself has acknowledged: what is on its disk.
fn own_acknowledged(log: LogFacts) -> Offset {
    if planted(PlantedBug::CountUnsyncedLeader) { log.end } else { log.synced }
}

fn has_reached_high_watermark(progress: &FollowerProgress, high_watermark: Offset) -> bool {
    progress.acknowledged >= high_watermark || planted(PlantedBug::JoinBelowHighWatermark)
}
