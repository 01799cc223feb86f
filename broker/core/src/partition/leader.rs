//! The leader's side: what a replica does with clients' records and followers' fetches, and which replicas in
//! sync it proposes.

use std::cmp::Ordering;

use ottla_types::{BrokerEpoch, BrokerId, LeaderEpoch, Offset, PlantedBug, planted};

use super::assignment::{Assignment, Peer};
use super::leader_state::{
    AppendRefusal, Committed, FetchRefusal, FetchVerdict, FollowerFetch, FollowerProgress, IsrProposal,
};
use super::log_facts::LogFacts;
use super::replica::{Change, Replica, Role};

impl Replica {
    /// Whether a client's records may be appended, and in which epoch.
    ///
    /// # Errors
    /// Why not.
    pub fn check_append(&self, needs_all: bool) -> Result<LeaderEpoch, AppendRefusal> {
        let (Role::Leader(_), Some(assignment)) = (&self.role, &self.assignment) else {
            return Err(AppendRefusal::NotLeader);
        };
        if needs_all && assignment.is_under_minimum() {
            let (in_sync, minimum) = (assignment.isr.len(), assignment.min_insync_replicas);
            return Err(AppendRefusal::NotEnoughReplicas { in_sync, minimum });
        }
        Ok(assignment.leader_epoch)
    }

    /// Whether the record at `offset`, which was appended here as the leader of `epoch`, may be acknowledged.
    pub fn committed(&self, offset: Offset, epoch: LeaderEpoch) -> Committed {
        let (Role::Leader(_), Some(assignment)) = (&self.role, &self.assignment) else {
            return word_of_a_deposed_leader();
        };
        if !is_of_epoch(assignment, epoch) {
            Committed::Unknown
        } else if self.is_below_high_watermark(offset) {
            Committed::Yes
        } else if assignment.is_under_minimum() {
            Committed::UnderMinimum
        } else {
            Committed::Waiting
        }
    }

    fn is_below_high_watermark(&self, offset: Offset) -> bool {
        self.high_watermark > offset
            || (planted(PlantedBug::AcknowledgeAtHighWatermark) && self.high_watermark == offset)
    }

    /// Whether all that earlier leaders acknowledged is below the high watermark, so that it can be told as
    /// the newest offset (KIP-207).
    pub fn is_high_watermark_current(&self) -> bool {
        match &self.role {
            Role::Leader(leader) => self.high_watermark >= leader.epoch_start,
            _ => false,
        }
    }

    /// How far the followers are; none if this isn't the leader.
    pub fn followers(&self) -> impl Iterator<Item = (BrokerId, FollowerProgress)> {
        let followers = match &self.role {
            Role::Leader(leader) => Some(&leader.followers),
            _ => None,
        };
        followers.into_iter().flatten().map(|(id, progress)| (*id, *progress))
    }

    /// A follower asks for records. `end_offset_for` is the log's answer to OffsetForLeaderEpoch.
    ///
    /// # Errors
    /// Why it gets none.
    pub fn on_fetch(
        &mut self,
        fetch: &FollowerFetch,
        log: LogFacts,
        end_offset_for: impl Fn(LeaderEpoch) -> Option<(LeaderEpoch, Offset)>,
        now_ms: u64,
    ) -> Result<(FetchVerdict, Change), FetchRefusal> {
        self.check_fetch(fetch)?;
        log.assert_in_order();
        // Nobody else is asked for it.
        let is_complete = fetch.last_epoch.is_none() && self.is_complete(fetch.broker);
        let diverging = diverges(fetch, log, is_complete, end_offset_for).filter(|_| checks_divergence());
        let is_behind = fetch.fetch_offset < log.start;
        let Role::Leader(leader) = &mut self.role else { return Err(FetchRefusal::NotLeader) };
        if let Some(verdict) = diverging.or(is_behind.then_some(FetchVerdict::BehindLogStart)) {
            // It is to cut its log: what it acknowledged before, it has no more.
            if !planted(PlantedBug::CountBeforeCut) {
                leader.followers.remove(&fetch.broker);
            }
            return Ok((verdict, Change::default()));
        }
        let progress =
            FollowerProgress { acknowledged: fetch.fetch_offset, broker_epoch: fetch.broker_epoch };
        leader.followers.insert(fetch.broker, progress);
        let mut change = self.progress(log);
        change.proposal = self.propose_join(fetch.broker, now_ms);
        Ok((FetchVerdict::Read, change))
    }

    fn check_fetch(&self, fetch: &FollowerFetch) -> Result<(), FetchRefusal> {
        let (Role::Leader(leader), Some(assignment)) = (&self.role, &self.assignment) else {
            return Err(FetchRefusal::NotLeader);
        };
        assert_eq!(assignment.leader, Some(self.me), "who leads is the leader of the state that it follows");
        check_leader_epoch(fetch, assignment)?;
        let peer = assignment.peer(fetch.broker).ok_or(FetchRefusal::NotReplica)?;
        if !is_on_recorded_disk(fetch, peer) {
            return Err(FetchRefusal::NotReplica);
        }
        let known = leader.followers.get(&fetch.broker).map(|progress| progress.broker_epoch);
        let newest = peer.broker_epoch.max(known);
        if is_older_registration(fetch, newest) { Err(FetchRefusal::StaleBrokerEpoch) } else { Ok(()) }
    }

    /// Whether this follower is known to have everything that was acknowledged.
    fn is_complete(&self, follower: BrokerId) -> bool {
        let (Role::Leader(leader), Some(assignment)) = (&self.role, &self.assignment) else {
            return false;
        };
        assignment.elr.contains(&follower)
            || leader.members_that_count(assignment).any(|member| member == follower)
    }

    /// Proposes that this follower joins, if it may and nothing else is under way.
    fn propose_join(&mut self, follower: BrokerId, now_ms: u64) -> Option<IsrProposal> {
        let high_watermark = self.high_watermark;
        let (Role::Leader(leader), Some(assignment)) = (&mut self.role, &self.assignment) else {
            return None;
        };
        let peer = assignment.peer(follower)?;
        if leader.pending.is_some()
            || assignment.isr.contains(&follower)
            || !leader.may_join(peer, high_watermark, now_ms)
        {
            return None;
        }
        let members = assignment.isr.iter().copied().chain([follower]);
        leader.pending = proposal(assignment, members);
        leader.pending.clone()
    }

    /// The leader's log has this end now, as something was appended.
    pub fn on_append(&mut self, end: Offset, now_ms: u64) {
        if let Role::Leader(leader) = &mut self.role {
            leader.ends.note(end, now_ms);
        }
    }

    /// Proposes that members leave that have lagged for too long, and others join that may. Call it now and
    /// then.
    pub fn on_tick(&mut self, log: LogFacts, now_ms: u64) -> Option<IsrProposal> {
        log.assert_in_order();
        let (me, high_watermark) = (self.me, self.high_watermark);
        let (Role::Leader(leader), Some(assignment)) = (&mut self.role, &self.assignment) else {
            return None;
        };
        let acknowledged = assignment.replicas.iter().filter(|peer| peer.broker != me).map(|peer| {
            leader.followers.get(&peer.broker).map_or(Offset(-1), |progress| progress.acknowledged)
        });
        leader.ends.tidy(log.end, acknowledged.min(), now_ms);
        if leader.pending.is_some() {
            return None;
        }
        let mut members: Vec<BrokerId> = Vec::new();
        for peer in &assignment.replicas {
            let is_member = match assignment.isr.contains(&peer.broker) {
                _ if peer.broker == me => true,
                true => !leader.lags(peer.broker, now_ms),
                false => leader.may_join(peer, high_watermark, now_ms),
            };
            if is_member {
                members.push(peer.broker);
            }
        }
        let same =
            members.len() == assignment.isr.len() && members.iter().all(|id| assignment.isr.contains(id));
        if same {
            return None;
        }
        leader.pending = proposal(assignment, members.into_iter());
        leader.pending.clone()
    }

    /// The controller refused a proposal for certain: it is as if it had never been made. Without such a word
    /// it stays under way, as it may have been committed; a newer image settles it, or it is proposed again
    /// by [`Self::pending_proposal`].
    pub fn on_proposal_refused(&mut self, proposal: &IsrProposal, log: LogFacts) -> Change {
        if let Role::Leader(leader) = &mut self.role
            && leader.pending.as_ref() == Some(proposal)
        {
            leader.pending = None;
        }
        self.progress(log)
    }

    /// The proposal that is under way.
    pub fn pending_proposal(&self) -> Option<&IsrProposal> {
        match &self.role {
            Role::Leader(leader) => leader.pending.as_ref(),
            _ => None,
        }
    }
}

/// Members whose registration isn't known are left out: they can't be in sync.
fn proposal(assignment: &Assignment, members: impl Iterator<Item = BrokerId>) -> Option<IsrProposal> {
    Some(IsrProposal {
        leader_epoch: assignment.leader_epoch,
        partition_epoch: assignment.partition_epoch,
        isr: members.filter_map(|id| Some((id, assignment.peer(id)?.broker_epoch?))).collect(),
    })
}

/// What a replica says of a record that it appended as the leader, and isn't any more.
fn word_of_a_deposed_leader() -> Committed {
    if planted(PlantedBug::AcknowledgeAfterDeposed) { Committed::Yes } else { Committed::Unknown }
}

fn is_of_epoch(assignment: &Assignment, epoch: LeaderEpoch) -> bool {
    assignment.leader_epoch == epoch || planted(PlantedBug::AcknowledgeInOtherEpoch)
}

/// A follower is answered only in the epoch of this leader.
fn check_leader_epoch(fetch: &FollowerFetch, assignment: &Assignment) -> Result<(), FetchRefusal> {
    match fetch.leader_epoch.cmp(&assignment.leader_epoch) {
        _ if planted(PlantedBug::SkipFetchEpochCheck) => Ok(()),
        Ordering::Equal => Ok(()),
        Ordering::Less => Err(FetchRefusal::FencedLeaderEpoch),
        Ordering::Greater => Err(FetchRefusal::UnknownLeaderEpoch),
    }
}

fn is_on_recorded_disk(fetch: &FollowerFetch, peer: &Peer) -> bool {
    fetch.directory == peer.directory || planted(PlantedBug::AcceptForeignDirectoryInFetch)
}

fn is_older_registration(fetch: &FollowerFetch, newest: Option<BrokerEpoch>) -> bool {
    Some(fetch.broker_epoch) < newest && !planted(PlantedBug::AcceptStaleBrokerEpochInFetch)
}

fn checks_divergence() -> bool {
    !planted(PlantedBug::SkipDivergenceCheck)
}

/// Whether the leader's greatest epoch up to the follower's last one is that epoch itself (KIP-279).
fn is_same_epoch(found: LeaderEpoch, last: LeaderEpoch) -> bool {
    found == last || planted(PlantedBug::CompareOffsetsOnly)
}

/// Whether a follower has nothing that the leader has: its log ends before that of the leader begins.
fn ends_before_start(fetch: &FollowerFetch, log: LogFacts) -> bool {
    fetch.fetch_offset < log.start
        || (planted(PlantedBug::TrustWhereLogStarts) && fetch.fetch_offset == log.start)
}

/// Whether a follower that names no epoch, as it has no records, still lacks nothing before its fetch offset.
/// Only what was acknowledged is ever let go: who is known to be complete has had that. Any other may have
/// let go records that an unclean election gave up.
fn has_let_go_the_same(fetch: &FollowerFetch, log: LogFacts, is_complete: bool) -> bool {
    let is_trusted = is_complete || planted(PlantedBug::TrustWithoutEpoch);
    fetch.fetch_offset <= log.start || (is_trusted && fetch.fetch_offset <= log.end)
}

/// What makes the follower's log another one than the leader's, up to its fetch offset. `is_complete` says
/// that it is known to have everything that was acknowledged.
fn diverges(
    fetch: &FollowerFetch,
    log: LogFacts,
    is_complete: bool,
    end_offset_for: impl Fn(LeaderEpoch) -> Option<(LeaderEpoch, Offset)>,
) -> Option<FetchVerdict> {
    let (epoch, end_offset) = match fetch.last_epoch {
        None if has_let_go_the_same(fetch, log, is_complete) => return None,
        None => (LeaderEpoch(-1), if is_complete { log.end } else { log.start }),
        Some(last) => match end_offset_for(last) {
            Some((epoch, end)) if is_same_epoch(epoch, last) && end >= fetch.fetch_offset => return None,
            Some(found) => found,
            // The leader's log begins in a later epoch. No common prefix is known, even if the follower's log
            // ends exactly where this one starts: its records may differ. If it ends before that, it begins
            // anew there in any case.
            None if ends_before_start(fetch, log) => return None,
            None => (LeaderEpoch(-1), log.start),
        },
    };
    Some(FetchVerdict::Diverging { epoch, end_offset })
}
