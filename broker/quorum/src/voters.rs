//! Who votes: changed online, one committed step at a time.
//!
//! Each member of the quorum carries a mark that it is to vote. A change of the voters only sets the marks;
//! the active controller then brings the voters in line with them, whoever that is by then: a marked learner
//! votes once it has caught up, and the vote is taken from unmarked ones when all that are marked have it. So
//! a change that adds and removes never passes through fewer voters than it begins or ends with.
//!
//! A quorum grows by itself, from one voter to three and from three to five, one voter at a time: as soon as
//! there are two more nodes with the role controller that are in service and have caught up. It never shrinks
//! by itself.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use openraft::ChangeMembers;
use ottla_control::proto;
use ottla_types::{BrokerId, DirectoryId};
use serde::{Deserialize, Serialize};
use tonic::Status;

use crate::controller::Unavailable;
use crate::error::SubmitError;
use crate::node::{Node, Running, unavailable};
use crate::raft_types::{Member, RaftMetrics};

/// The most voters that a quorum has.
pub const VOTERS_MAX: usize = 9;

/// How many voters a quorum comes to by itself: any two of five may be lost.
const GROWN: usize = 5;

/// How often the active controller compares the voters with those that are wanted, while nothing happens.
const LOOK_INTERVAL: Duration = Duration::from_millis(250);

/// A learner has caught up when it had everything that was committed not longer ago than this.
const CAUGHT_UP_WITHIN: Duration = Duration::from_secs(1);

/// A change of who is to vote.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum VoterChange {
    /// These, and nobody else.
    Set(BTreeSet<BrokerId>),
    /// This one too; if a disk is named, only with that one.
    Add(BrokerId, Option<DirectoryId>),
    /// This one no longer; if a disk is named, only with that one.
    Remove(BrokerId, Option<DirectoryId>),
}

/// Why the voters were not changed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error, Serialize, Deserialize)]
pub enum VotersError {
    /// It never joined.
    #[error("node {0} is not known to the metadata quorum: start it first")]
    Unknown(BrokerId),
    /// It is to vote already.
    #[error("node {0} is a voter already")]
    AlreadyVoter(BrokerId),
    /// It isn't to vote.
    #[error("node {0} is not a voter")]
    NotVoter(BrokerId),
    /// The node has another disk than the one that was named.
    #[error("node {id} has the disk {current}, not {given}")]
    AnotherDirectory {
        /// The node.
        id: BrokerId,
        /// The disk that was named.
        given: DirectoryId,
        /// The disk that it has.
        current: DirectoryId,
    },
    /// There would be none, or too many.
    #[error("a quorum has 1 to {VOTERS_MAX} voters, not {0}")]
    Count(usize),
    /// The wish is committed, or perhaps not, and not yet carried out.
    #[error("the voters are not as wanted yet: the active controller goes on trying")]
    NotYet,
    /// No active controller answered in time.
    #[error(transparent)]
    Unavailable(#[from] Unanswered),
}

/// No active controller answered in time.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error, Serialize, Deserialize)]
#[error("the active controller did not answer in time: try again")]
pub struct Unanswered;

impl VoterChange {
    /// Who is to vote after the change.
    fn applied(&self, members: &BTreeMap<BrokerId, Member>) -> Result<BTreeSet<BrokerId>, VotersError> {
        let mut wanted = wanted(members);
        match self {
            Self::Set(voters) => wanted.clone_from(voters),
            Self::Add(id, directory) => {
                check_directory(members, *id, *directory)?;
                if !wanted.insert(*id) {
                    return Err(VotersError::AlreadyVoter(*id));
                }
            }
            Self::Remove(id, directory) => {
                check_directory(members, *id, *directory)?;
                if !wanted.remove(id) {
                    return Err(VotersError::NotVoter(*id));
                }
            }
        }
        if let Some(unknown) = wanted.iter().find(|id| !members.contains_key(id)) {
            return Err(VotersError::Unknown(*unknown));
        }
        if wanted.is_empty() || wanted.len() > VOTERS_MAX {
            return Err(VotersError::Count(wanted.len()));
        }
        Ok(wanted)
    }
}

impl VoterChange {
    /// The members with other marks than before, once `wanted` are to vote.
    fn marks(
        &self,
        members: &BTreeMap<BrokerId, Member>,
        wanted: &BTreeSet<BrokerId>,
    ) -> BTreeMap<BrokerId, Member> {
        let and_nobody_else = matches!(self, Self::Set(_));
        let marked = |(id, member): (&BrokerId, &Member)| {
            let votes = wanted.contains(id);
            let dismissed = !votes && (member.dismissed || member.wanted || and_nobody_else);
            let marked = Member { wanted: votes, dismissed, ..member.clone() };
            (marked != *member).then_some((*id, marked))
        };
        members.iter().filter_map(marked).collect()
    }
}

fn check_directory(
    members: &BTreeMap<BrokerId, Member>,
    id: BrokerId,
    given: Option<DirectoryId>,
) -> Result<(), VotersError> {
    let current = members.get(&id).ok_or(VotersError::Unknown(id))?.identity.disk;
    match given.filter(|given| !given.is_zero() && *given != current) {
        Some(given) => Err(VotersError::AnotherDirectory { id, given, current }),
        None => Ok(()),
    }
}

fn wanted(members: &BTreeMap<BrokerId, Member>) -> BTreeSet<BrokerId> {
    members.iter().filter(|(_, member)| member.wanted).map(|(id, _)| *id).collect()
}

/// What the active controller knows when it looks at the voters.
struct View<'a> {
    me: BrokerId,
    /// One set of voters, or two while they change.
    configs: &'a [BTreeSet<BrokerId>],
    wanted: BTreeSet<BrokerId>,
    caught_up: BTreeSet<BrokerId>,
}

/// What it does next.
#[derive(Debug, PartialEq, Eq)]
enum Step {
    /// All is as wanted, or somebody has to catch up first.
    Nothing,
    /// These are to be the voters.
    Change(BTreeSet<BrokerId>),
    /// It isn't to vote any more itself: one of these has to be the active controller first.
    HandOver(BTreeSet<BrokerId>),
}

impl View<'_> {
    fn step(&self) -> Step {
        let current = self.configs.last().cloned().unwrap_or_default();
        if self.wanted.is_empty() {
            // A log from before there were marks.
            return Step::Nothing;
        }
        let ready: BTreeSet<BrokerId> = self
            .wanted
            .iter()
            .copied()
            .filter(|id| current.contains(id) || self.caught_up.contains(id))
            .collect();
        let mut target = if ready == self.wanted { ready } else { current.union(&ready).copied().collect() };
        let leaves = !target.contains(&self.me);
        let successors: BTreeSet<BrokerId> = target.intersection(&current).copied().collect();
        if leaves && !successors.is_empty() && self.configs.len() == 1 {
            return Step::HandOver(successors);
        }
        if leaves {
            target.insert(self.me);
        }
        if target == current && self.configs.len() == 1 { Step::Nothing } else { Step::Change(target) }
    }
}

/// Who is to vote next, unasked; `ready` are in service and have caught up. Two voters are no safer than one,
/// so the first of two more is only taken while the second one is there too.
fn next_voter(
    members: &BTreeMap<BrokerId, Member>,
    configs: &[BTreeSet<BrokerId>],
    ready: &BTreeSet<BrokerId>,
) -> Option<BrokerId> {
    let wanted = wanted(members);
    if wanted.is_empty() || configs != [wanted.clone()] || wanted.len() >= GROWN {
        return None;
    }
    let may = |id: &BrokerId, member: &Member| {
        member.controller && !member.dismissed && !member.wanted && ready.contains(id)
    };
    let volunteers: Vec<BrokerId> =
        members.iter().filter(|(id, member)| may(id, member)).map(|(id, _)| *id).collect();
    // From an odd number to the next one it takes two.
    let missing = 1 + wanted.len() % 2;
    volunteers.first().copied().filter(|_| volunteers.len() >= missing)
}

impl Node {
    /// Changes who is to vote, at the active controller, and waits until it is so.
    pub async fn change_voters(&self, change: VoterChange, limit: Duration) -> Result<(), VotersError> {
        let deadline = tokio::time::Instant::now() + limit;
        let change = &change;
        let outcome = self
            .at_the_active_controller(limit, |address| async move {
                let Some(address) = address else { return self.submit_voters(change).await };
                let encoded =
                    serde_json::to_vec(change).map_err(|error| Status::internal(error.to_string()))?;
                let request = proto::SubmitVotersRequest {
                    cluster_id: self.known_cluster_id(),
                    change: encoded,
                    quorum: self.quorum(),
                };
                let response = self.peers.client(&address)?.submit_voters(request).await?.into_inner();
                serde_json::from_slice(&response.outcome).map_err(|error| Status::internal(error.to_string()))
            })
            .await
            .map_err(|_: SubmitError| Unanswered)?;
        outcome?;
        let Some(running) = self.running.get() else { return Err(Unanswered.into()) };
        let mut metrics = running.raft.metrics();
        let done = metrics.wait_for(|metrics| as_wanted(metrics, change));
        match tokio::time::timeout_at(deadline, done).await {
            Ok(Ok(_)) => Ok(()),
            Ok(Err(_)) | Err(_) => Err(VotersError::NotYet),
        }
    }

    /// Marks who is to vote, if this node is the active controller.
    pub async fn submit_voters(&self, change: &VoterChange) -> Result<Result<(), VotersError>, Status> {
        let running = self.running()?;
        let _one_at_a_time = running.membership_changes.lock().await;
        let members = self.members_as_leader(running)?;
        let wanted = match change.applied(&members) {
            Ok(wanted) => wanted,
            Err(error) => return Ok(Err(error)),
        };
        let marked = change.marks(&members, &wanted);
        if !marked.is_empty() {
            tracing::info!(?wanted, "the voters of the metadata quorum are to change");
            change_members(running, ChangeMembers::SetNodes(marked), true).await?;
        }
        Ok(Ok(()))
    }

    /// The members of the quorum, all of the log applied, if this node is the active controller.
    pub fn members_as_leader(&self, running: &Running) -> Result<BTreeMap<BrokerId, Member>, Status> {
        let server = running.raft.server_metrics().borrow().clone();
        if server.current_leader != Some(self.config.node_id) {
            return Err(unavailable(&Unavailable::NotActive(server.current_leader)));
        }
        let membership = server.membership_config.membership();
        Ok(membership.nodes().map(|(id, member)| (*id, member.clone())).collect())
    }

    /// One look at the voters, if this node is the active controller.
    async fn tend_voters(&self, running: &Running) -> Result<(), Status> {
        let _one_at_a_time = running.membership_changes.lock().await;
        let members = self.members_as_leader(running)?;
        let server = running.raft.server_metrics().borrow().clone();
        let caught_up = |id: &BrokerId, member: &Member| {
            *id == self.config.node_id
                || self.contacts.caught_up_within(*id, member.identity, CAUGHT_UP_WITHIN)
        };
        let view = View {
            me: self.config.node_id,
            configs: server.membership_config.membership().get_joint_config(),
            wanted: wanted(&members),
            caught_up: members.iter().filter(|(id, m)| caught_up(id, m)).map(|(id, _)| *id).collect(),
        };
        match view.step() {
            Step::Nothing => self.grow(running, &members, &view).await,
            Step::Change(voters) => {
                tracing::info!(from = ?view.configs, to = ?voters, "changing the voters of the metadata quorum");
                change_members(running, ChangeMembers::ReplaceAllVoters(voters), true).await
            }
            Step::HandOver(successors) => {
                tracing::info!(?successors, "this active controller is to vote no more");
                self.hand_over(running, Some(&successors)).await;
                Ok(())
            }
        }
    }
}

impl Node {
    /// Marks one more voter, if the quorum is to grow.
    async fn grow(
        &self,
        running: &Running,
        members: &BTreeMap<BrokerId, Member>,
        view: &View<'_>,
    ) -> Result<(), Status> {
        let image = self.image.borrow().clone();
        let ready = view
            .caught_up
            .iter()
            .copied()
            .filter(|id| image.broker(*id).is_some_and(|broker| broker.is_active() && !broker.draining))
            .collect();
        let Some(id) = next_voter(members, view.configs, &ready) else { return Ok(()) };
        let Some(member) = members.get(&id) else { return Ok(()) };
        tracing::info!(voter = id.0, "the metadata quorum grows: one more voter");
        let marked = Member { wanted: true, ..member.clone() };
        change_members(running, ChangeMembers::SetNodes([(id, marked)].into()), true).await
    }
}

/// Commits a change of the membership.
pub async fn change_members(
    running: &Running,
    change: ChangeMembers<BrokerId, Member>,
    retain: bool,
) -> Result<(), Status> {
    let changed = running.raft.change_membership(change, retain).await;
    changed.map(|_| ()).map_err(|error| Status::unavailable(error.to_string()))
}

fn as_wanted(metrics: &RaftMetrics, change: &VoterChange) -> bool {
    let membership = metrics.membership_config.membership();
    let [voters] = membership.get_joint_config().as_slice() else { return false };
    match change {
        VoterChange::Set(wanted) => wanted == voters,
        VoterChange::Add(id, _) => voters.contains(id),
        VoterChange::Remove(id, _) => !voters.contains(id),
    }
}

/// While this node is the active controller, brings the voters in line with those that are wanted.
pub async fn tend(node: Arc<Node>) {
    let Some(running) = node.running.get() else { return };
    let mut stopping = node.stopping.subscribe();
    let mut server = running.raft.server_metrics();
    loop {
        tokio::select! {
            _ = tokio::time::timeout(LOOK_INTERVAL, server.changed()) => {}
            _ = stopping.wait_for(|stopping| *stopping) => return,
        }
        if node.is_active()
            && let Err(status) = node.tend_voters(running).await
        {
            tracing::debug!(%status, "the voters did not change");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ids(text: &str) -> BTreeSet<BrokerId> {
        text.split_whitespace().map(|id| BrokerId(id.parse().unwrap())).collect()
    }

    /// The step of node 1, with voters as in "1 2 3" or, while they change, "1 2 3 > 1 2".
    fn check(voters: &str, wanted: &str, caught_up: &str, expected: &str) {
        let configs: Vec<_> = voters.split('>').map(ids).collect();
        let view =
            View { me: BrokerId(1), configs: &configs, wanted: ids(wanted), caught_up: ids(caught_up) };
        let list =
            |set: BTreeSet<BrokerId>| set.iter().map(ToString::to_string).collect::<Vec<_>>().join(" ");
        let step = match view.step() {
            Step::Nothing => "nothing".to_owned(),
            Step::Change(voters) => list(voters),
            Step::HandOver(successors) => format!("hand over to {}", list(successors)),
        };
        assert_eq!(step, expected, "{voters:?} wanted {wanted:?} caught up {caught_up:?}");
    }

    #[test]
    fn the_voters_follow_the_wish_without_ever_being_fewer() {
        check("1", "1", "1", "nothing");
        check("1", "1 2 3", "1", "nothing");
        check("1", "1 2 3", "1 2", "1 2");
        check("1", "1 2 3", "1 2 3", "1 2 3");
        // A dead voter goes when its replacement is there.
        check("1 2 3", "1 2 4", "1 2", "nothing");
        check("1 2 3", "1 2 4", "1 2 4", "1 2 4");
        // A dead one that is wanted stays; one that lags is waited for.
        check("1 2 3", "1 2 3", "1", "nothing");
        check("1 2 3", "1 2 4 5", "1 2 4", "1 2 3 4");
        check("1 2 3 4 5", "1 2 3", "1", "1 2 3");
    }

    #[test]
    fn a_change_that_was_left_half_done_is_ended() {
        check("1 2 3 > 1 2", "1 2", "1 2", "1 2");
        check("1 2 > 1 2 3", "1 2 3", "1 2", "1 2 3");
        // Node 3 came back without its log in the middle of that: it has to learn first.
        check("1 2 3 > 1 2", "1 2 3", "1 2", "1 2");
    }

    #[test]
    fn an_active_controller_that_is_to_go_hands_over_first() {
        check("1 2 3", "2 3 4", "2 3 4", "hand over to 2 3");
        check("1 2 3", "2 3 4", "2 3", "nothing");
        check("1", "2", "1", "nothing");
        check("1", "2", "1 2", "1 2");
        check("1 2", "2", "1 2", "hand over to 2");
    }

    #[test]
    fn without_marks_nothing_changes() {
        check("1 2 3", "", "1 2 3", "nothing");
    }

    #[test]
    fn a_quorum_grows_by_itself_to_odd_numbers_and_one_at_a_time() {
        // Node 7 hasn't the role, node 8 was dismissed.
        let check = |wanted: &str, voters: &str, ready: &str, expected: Option<i32>| {
            let member = |id: BrokerId| Member {
                wanted: ids(wanted).contains(&id),
                controller: id != BrokerId(7),
                dismissed: id == BrokerId(8),
                ..Member::default()
            };
            let members = ids("1 2 3 4 5 6 7 8").into_iter().map(|id| (id, member(id))).collect();
            let configs: Vec<_> = voters.split('>').map(ids).collect();
            let next = next_voter(&members, &configs, &ids(ready));
            assert_eq!(next, expected.map(BrokerId), "{wanted:?} of {voters:?}, ready {ready:?}");
        };
        check("1", "1", "1", None);
        check("1", "1", "1 2", None);
        check("1", "1", "1 7 8", None);
        check("1", "1", "1 3 7 8", None);
        check("1", "1", "1 2 3", Some(2));
        // The mark is there, the vote isn't yet; or a change is under way.
        check("1 2", "1", "1 2 3", None);
        check("1 2", "1 > 1 2", "1 2 3", None);
        check("1 2", "1 2", "1 2", None);
        check("1 2", "1 2", "1 2 3", Some(3));
        check("1 2 3", "1 2 3", "1 2 3", None);
        check("1 2 3", "1 2 3", "1 2 3 4", None);
        check("1 2 3", "1 2 3", "1 2 3 5 6", Some(5));
        check("1 2 3 4 5", "1 2 3 4 5", "1 2 3 4 5 6", None);
        check("", "1 2 3", "1 2 3 4 5", None);
    }

    #[test]
    fn who_was_dismissed_by_an_administrator_votes_again_only_by_one() {
        let marks = |change: &VoterChange, members: &BTreeMap<BrokerId, Member>| {
            let mut after = members.clone();
            after.extend(change.marks(members, &change.applied(members).unwrap()));
            let list = |of: &dyn Fn(&Member) -> bool| -> BTreeSet<BrokerId> {
                after.iter().filter(|(_, member)| of(member)).map(|(id, _)| *id).collect()
            };
            assert_eq!(list(&|member| member.wanted && member.dismissed), ids(""));
            (list(&|member| member.dismissed), after.clone())
        };
        let members = BTreeMap::from([1, 2, 3].map(|id| (BrokerId(id), member(id < 3))));
        let (dismissed, after) = marks(&VoterChange::Remove(BrokerId(2), None), &members);
        assert_eq!(dismissed, ids("2"));
        assert_eq!(marks(&VoterChange::Add(BrokerId(2), None), &after).0, ids(""));
        assert_eq!(marks(&VoterChange::Set(ids("1")), &members).0, ids("2 3"));
    }

    fn member(wanted: bool) -> Member {
        Member { wanted, ..Member::default() }
    }

    #[test]
    fn wishes_are_checked() {
        let members = BTreeMap::from([(BrokerId(1), member(true)), (BrokerId(2), member(false))]);
        let (one, two, three) = (BrokerId(1), BrokerId(2), BrokerId(3));
        let disk = DirectoryId([7; 16]);
        let apply = |change: VoterChange| change.applied(&members);
        assert_eq!(apply(VoterChange::Add(two, None)), Ok(ids("1 2")));
        assert_eq!(apply(VoterChange::Add(one, None)), Err(VotersError::AlreadyVoter(one)));
        assert_eq!(apply(VoterChange::Add(three, None)), Err(VotersError::Unknown(three)));
        assert_eq!(apply(VoterChange::Set(ids("1 3"))), Err(VotersError::Unknown(three)));
        assert_eq!(apply(VoterChange::Remove(two, None)), Err(VotersError::NotVoter(two)));
        assert_eq!(apply(VoterChange::Remove(one, None)), Err(VotersError::Count(0)));
        let other = apply(VoterChange::Add(two, Some(disk)));
        assert!(matches!(other, Err(VotersError::AnotherDirectory { given, .. }) if given == disk));
    }
}
