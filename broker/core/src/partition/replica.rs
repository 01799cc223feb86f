//! A replica and its roles: what a new image makes of it.

use ottla_types::{BrokerId, LeaderEpoch, Offset, PartitionEpoch, PlantedBug, planted};

use super::assignment::Assignment;
use super::follower_state::FollowerState;
use super::leader_state::{IsrProposal, LeaderState};
use super::log_facts::LogFacts;

/// One replica of a partition on this broker.
#[derive(Clone, Debug)]
pub struct Replica {
    pub(super) me: BrokerId,
    /// Invariant: not before the log's start. It falls only when the log is cut.
    pub(super) high_watermark: Offset,
    /// How long a member may lag, in ms.
    lag_max_ms: u64,
    pub(super) assignment: Option<Assignment>,
    pub(super) role: Role,
}

#[derive(Clone, Debug)]
pub(super) enum Role {
    /// There is no leader, or this broker isn't among the replicas.
    Offline,
    Leader(LeaderState),
    Follower(FollowerState),
}

/// A replica's role, for those who only want to know.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RoleKind {
    /// There is no leader.
    Offline,
    /// It leads.
    Leader,
    /// It follows this broker.
    Follower(BrokerId),
}

/// What an event changed; carried out in the order of the fields.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[must_use]
pub struct Change {
    /// The role or its epoch is another: producers that wait are told NOT_LEADER, a fetcher begins or ends.
    pub role: bool,
    /// The high watermark is further: waiting producers and consumers look again.
    pub high_watermark: bool,
    /// What is to be proposed to the controller.
    pub proposal: Option<IsrProposal>,
}

impl Change {
    pub(super) fn merge(&mut self, other: Self) {
        self.role |= other.role;
        self.high_watermark |= other.high_watermark;
        self.proposal = other.proposal.or(self.proposal.take());
    }
}

/// A high watermark as it is saved for the next start, with the epoch of the last record below it, which
/// tells then whether it is still the same log.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SavedHighWatermark {
    /// The offset after the last record that was acknowledged.
    pub offset: Offset,
    /// That record's epoch; none if it isn't known.
    pub epoch: Option<LeaderEpoch>,
}

impl SavedHighWatermark {
    /// A high watermark of a log that tells of each offset's epoch.
    pub fn new(offset: Offset, epoch_at: impl Fn(Offset) -> Option<LeaderEpoch>) -> Self {
        Self { offset, epoch: epoch_at(Offset(offset.0 - 1)) }
    }

    /// What it says of a log: nothing, which is 0, if there is another record below it. After an unclean
    /// election a log may have been cut and have grown again since.
    pub fn in_log(self, epoch_at: impl Fn(Offset) -> Option<LeaderEpoch>) -> Offset {
        let is_same = self.epoch.is_some() && epoch_at(Offset(self.offset.0 - 1)) == self.epoch;
        if is_same { self.offset } else { Offset(0) }
    }
}

impl Replica {
    /// A replica that was just opened. `high_watermark` is the last one that was saved, which the log may not
    /// reach any more; it counts no further than `log` is synced. Where this leads, who hasn't acknowledged a
    /// record that is older than `lag_max_ms` isn't in sync.
    pub fn new(me: BrokerId, high_watermark: Offset, log: LogFacts, lag_max_ms: u64) -> Self {
        log.assert_in_order();
        let high_watermark = high_watermark.min(log.synced).max(log.start);
        Self { me, high_watermark, lag_max_ms, assignment: None, role: Role::Offline }
    }

    /// Up to here records are acknowledged, and shown to consumers.
    pub fn high_watermark(&self) -> Offset {
        self.high_watermark
    }

    /// How far consumers may read here, on the leader as on a follower.
    pub fn read_limit(&self, log: LogFacts) -> Offset {
        self.shown_to().min(log.end)
    }

    /// Consumers are shown what is acknowledged.
    fn shown_to(&self) -> Offset {
        if planted(PlantedBug::ServeBeyondHighWatermark) { Offset(i64::MAX) } else { self.high_watermark }
    }

    /// The role.
    pub fn role(&self) -> RoleKind {
        match &self.role {
            Role::Offline => RoleKind::Offline,
            Role::Leader(_) => RoleKind::Leader,
            Role::Follower(follower) => RoleKind::Follower(follower.leader),
        }
    }

    /// The leader epoch of the image that is followed; −1 before the first.
    pub fn leader_epoch(&self) -> LeaderEpoch {
        self.assignment.as_ref().map_or(LeaderEpoch(-1), |assignment| assignment.leader_epoch)
    }

    /// The state that is followed.
    pub fn assignment(&self) -> Option<&Assignment> {
        self.assignment.as_ref()
    }

    /// Follows a newer image.
    ///
    /// # Panics
    /// When the image is older than the one that was followed.
    pub fn on_image(&mut self, new: Assignment, log: LogFacts, now_ms: u64) -> Change {
        let (old_epoch, old_partition_epoch) = (self.leader_epoch(), self.partition_epoch());
        assert!(new.leader_epoch >= old_epoch, "leader epoch {} after {old_epoch}", new.leader_epoch);
        assert!(new.partition_epoch >= old_partition_epoch, "partition epochs only grow");
        assert!(new.min_insync_replicas > 0, "the leader itself counts");
        assert!(new.isr.iter().all(|id| new.peer(*id).is_some()), "who is in sync holds a replica: {new:?}");
        assert!(new.leader.is_none_or(|leader| new.isr.contains(&leader)), "who leads is in sync: {new:?}");
        let is_new_epoch = new.leader_epoch > old_epoch;
        let is_mine = new.peer(self.me).is_some();
        let mut change = Change::default();
        self.role = match (std::mem::replace(&mut self.role, Role::Offline), new.leader) {
            (Role::Leader(mut leader), Some(id)) if id == self.me && !is_new_epoch => {
                leader.on_state(new.partition_epoch);
                Role::Leader(leader)
            }
            (old, Some(id)) if id == self.me && is_mine => {
                change.role = true;
                Role::Leader(LeaderState::new(log.end, self.lag_max_ms, now_ms, kept_of(old)))
            }
            (Role::Follower(follower), Some(id)) if id == follower.leader && !is_new_epoch => {
                Role::Follower(follower)
            }
            (_, Some(id)) if is_mine => {
                change.role = true;
                Role::Follower(FollowerState::new(id))
            }
            (old, _) => {
                change.role = !matches!(old, Role::Offline) || is_new_epoch;
                Role::Offline
            }
        };
        self.assignment = Some(new);
        change.merge(self.progress(log));
        change
    }

    /// The log has more on disk now.
    pub fn on_synced(&mut self, log: LogFacts) -> Change {
        self.progress(log)
    }

    /// How far records may be let go: only what is acknowledged, as followers may lack the rest, and its
    /// producers wait.
    pub fn retention_limit(&self, log: LogFacts) -> Offset {
        log.assert_in_order();
        self.retained_from().min(log.synced)
    }

    /// How far records may be cleaned away as newer ones have their keys: what isn't acknowledged may be cut,
    /// and older values come back by that. (With transactions it is the last stable offset.)
    pub fn cleaning_limit(&self, log: LogFacts) -> Offset {
        self.retention_limit(log)
    }

    /// What isn't acknowledged is retained.
    fn retained_from(&self) -> Offset {
        let is_off =
            planted(PlantedBug::RetainPastHighWatermark) || planted(PlantedBug::RetentionBehindPartition);
        if is_off { Offset(i64::MAX) } else { self.high_watermark }
    }

    /// The log begins later, at [`Self::retention_limit`] at most, or as the leader said: nothing before that
    /// is asked for any more.
    ///
    /// # Panics
    /// When a leader has let go what isn't acknowledged: who waits for it would hear of a success.
    pub fn on_log_start(&mut self, log: LogFacts) -> Change {
        if planted(PlantedBug::RetentionBehindPartition) {
            return Change::default();
        }
        let is_further = log.start > self.high_watermark;
        let leads = matches!(self.role, Role::Leader(_));
        assert!(
            !(leads && is_further) || planted(PlantedBug::RetainPastHighWatermark),
            "a leader lets go up to {}, acknowledged is up to {}",
            log.start,
            self.high_watermark
        );
        self.high_watermark = self.high_watermark.max(log.start);
        Change { high_watermark: is_further, ..Change::default() }
    }

    pub(super) fn partition_epoch(&self) -> PartitionEpoch {
        self.assignment.as_ref().map_or(PartitionEpoch(-1), |assignment| assignment.partition_epoch)
    }

    /// Moves the high watermark as far as it may.
    pub(super) fn progress(&mut self, log: LogFacts) -> Change {
        log.assert_in_order();
        let reached = match (&self.role, &self.assignment) {
            (Role::Leader(leader), Some(assignment)) => leader.high_watermark(self.me, assignment, log),
            // Never past what is on this disk: a consumer may read here, and this may be the leader next.
            (Role::Follower(follower), _) => Some(follower.leader_high_watermark.min(log.synced)),
            _ => None,
        };
        let Some(reached) = reached else { return Change::default() };
        assert!(reached <= log.end, "{reached} is acknowledged of a log that ends at {}", log.end);
        let is_further = reached > self.high_watermark;
        if is_further {
            self.high_watermark = reached;
        }
        Change { high_watermark: is_further, ..Change::default() }
    }
}

/// What a leader of a new epoch keeps of the one before: nothing, as followers acknowledge anew in each
/// epoch.
fn kept_of(old: Role) -> Option<LeaderState> {
    match old {
        Role::Leader(old) if planted(PlantedBug::KeepAcknowledgementsOfOldEpoch) => Some(old),
        _ => None,
    }
}
