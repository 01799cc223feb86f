//! A quorum that lost the disks of its voters is rebuilt from the metadata that one broker has, by an
//! administrator's word.
//!
//! The broker becomes the sole voter of another quorum, which carries its metadata on and names the old one
//! as that which it succeeds. Whoever followed the old one follows it if it has no newer metadata itself, or
//! by an administrator's word too; nobody else does. What is to be done is written down beside the data, and
//! done when the broker starts again: it can't be done to a log that is in use. It can be begun again after a
//! crash at any moment.
//!
//! Entries may be carried on that were never committed, which is no harm: nothing else was in their place.
//! Others may be lost that were: see `MetadataImage::carried_on`. The new log begins with a snapshot that is
//! later, in term and in index, than anything that anybody may have.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use openraft::{CommittedLeaderId, Membership};
use ottla_control::proto;
use ottla_store::Disk;
use ottla_types::{BrokerId, ClusterId, DirectoryId, MetadataVersion, QuorumId};
use tokio::sync::watch;
use tonic::Status;

use crate::config::QuorumConfig;
use crate::elections::is_quorum;
use crate::identity;
use crate::lineage::{Ancestor, Lineage, LogEnd, Memory, Next, from_proto};
use crate::log_store;
use crate::node::{Node, Running};
use crate::raft_types::{Identity, LogId, Member, SnapshotMeta, StoredMembership, Vote};
use crate::snapshot_file;
use crate::state_machine;
use crate::tasks::Tasks;

/// How far beyond the last entry that is known a rebuilt log begins: others may have seen later ones.
const INDEXES_SKIPPED: u64 = 1_000_000;

/// How far beyond the last term.
const TERMS_SKIPPED: u64 = 1_000;

/// How long a quorum may take to show that it needs no rebuild.
const ALIVE_LIMIT: Duration = Duration::from_secs(2);

impl Node {
    /// What this node has of the metadata, for administrators.
    pub fn copy(&self) -> Result<proto::MetadataCopy, Status> {
        let running = self.running()?;
        // The image comes last: it has at least what is said to be applied.
        let data = running.raft.data_metrics().borrow().clone();
        let (end, image) = (end_of(data.last_log), self.image.borrow().clone());
        let server = running.raft.server_metrics().borrow().clone();
        Ok(proto::MetadataCopy {
            cluster_id: self.known_cluster_id(),
            node_id: self.config.node_id.0,
            quorum: self.quorum(),
            last_term: end.term,
            last_index: end.index,
            topics: u64::try_from(image.topics.len()).unwrap_or(u64::MAX),
            votes: server.membership_config.membership().voter_ids().any(|id| id == self.config.node_id),
            active_controller: server.current_leader.map(|id| id.0),
            trouble: self.trouble().unwrap_or_default(),
            applied_index: Some(end_of(data.last_applied).index),
        })
    }

    /// Makes this node the sole voter of a quorum that carries its metadata on, when it starts again, which
    /// is at once.
    ///
    /// # Errors
    /// `AlreadyExists` when the quorum lives; `Aborted` when something else is to be done at the next start;
    /// `FailedPrecondition` when a majority of the voters is there with their logs, or this node has
    /// something else than the administrator saw.
    pub async fn recover(&self, request: &proto::RecoverQuorumRequest) -> Result<QuorumId, Status> {
        self.check_cluster(&request.cluster_id)?;
        let running = self.running()?;
        let me = self.config.node_id;
        if self.confirm(ALIVE_LIMIT).await.is_ok() {
            let text =
                format!("the metadata quorum of node {me} has an active controller: it needs no rebuild");
            return Err(Status::already_exists(text));
        }
        if let Some(next) = self.memory.next() {
            return Err(Status::aborted(format!("node {me} starts again already: {next}")));
        }
        self.check_majority_is_lost(running).await?;
        let (ours, end) = (self.memory.lineage(), log_end(running));
        let seen = LogEnd { term: request.last_term, index: request.last_index };
        let Some(ours) = ours.filter(|ours| from_proto(request.quorum.as_ref()).as_ref() == Some(ours))
        else {
            return Err(Status::failed_precondition(format!(
                "node {me} follows another quorum by now: look again"
            )));
        };
        if end != seen || end == LogEnd::default() {
            let text = format!("node {me} has the metadata up to {end}, not up to {seen}: look again");
            return Err(Status::failed_precondition(text));
        }
        let quorum = succeeding(&ours, end).map_err(|error| Status::internal(error.to_string()))?;
        let beyond = LogEnd { term: request.beyond_term, index: request.beyond_index };
        let id = quorum.id;
        tracing::warn!(quorum = %id, succeeds = %ours.id, %end, "an administrator has the metadata quorum rebuilt from here");
        self.start_again_for(Next::Rebuild { quorum, beyond }).await?;
        Ok(id)
    }

    /// Refuses a rebuild while voters that could elect an active controller answer with their logs: they may
    /// have committed more than this node has, and go on.
    async fn check_majority_is_lost(&self, running: &Running) -> Result<(), Status> {
        let server = running.raft.server_metrics().borrow().clone();
        let membership = server.membership_config.membership();
        let looks = membership.voter_ids().map(|id| async move {
            let member = membership.get_node(&id)?;
            let is_there = id == self.config.node_id || self.is_there(id, member).await;
            is_there.then_some(id)
        });
        let there: BTreeSet<BrokerId> =
            futures::future::join_all(looks).await.into_iter().flatten().collect();
        if !is_quorum(membership.get_joint_config(), &there) {
            return Ok(());
        }
        let ids: Vec<String> = there.iter().map(ToString::to_string).collect();
        Err(Status::failed_precondition(format!(
            "a majority of the voters is there with their logs (nodes {}): no rebuild is needed. See in their logs why they \
             elect no active controller, as when they don't reach each other; or stop those whose metadata is to be given up",
            ids.join(", ")
        )))
    }

    /// Leaves the quorum `leaves` for another one, by an administrator's word.
    ///
    /// # Errors
    /// `FailedPrecondition` when this node follows something else than the administrator saw; `AlreadyExists`
    /// when its own quorum lives, and it is told to follow one that was rebuilt from it, or one that it was
    /// itself rebuilt from.
    pub async fn follow_as_told(&self, request: &proto::FollowQuorumRequest) -> Result<(), Status> {
        self.check_cluster(&request.cluster_id)?;
        let me = self.config.node_id;
        let theirs = from_proto(request.quorum.as_ref())
            .ok_or_else(|| Status::invalid_argument("no quorum is named that is to be followed"))?;
        let Some(ours) = self.memory.lineage().filter(|ours| ours.id != theirs.id) else { return Ok(()) };
        if ours.id.to_string() != request.leaves {
            return Err(Status::failed_precondition(format!(
                "node {me} follows another quorum by now: look again"
            )));
        }
        // One that was formed beside the true one may live, and is to be left all the same.
        let is_rebuilt_from = |quorum: &Lineage, of: &Lineage| quorum.succeeds.iter().any(|a| a.id == of.id);
        let are_related = is_rebuilt_from(&theirs, &ours) || is_rebuilt_from(&ours, &theirs);
        if are_related && self.confirm(ALIVE_LIMIT).await.is_ok() {
            return Err(Status::already_exists(format!(
                "the metadata quorum {} of node {me} has an active controller: it isn't left for one that was rebuilt \
                 from it, or that it was rebuilt from",
                ours.id
            )));
        }
        tracing::warn!(quorum = %theirs.id, leaves = %ours.id, "an administrator has this node follow another quorum");
        self.start_again_for(Next::Follow { quorum: theirs, up_to: None }).await
    }

    /// A message came of a quorum that carries this node's on up to `end`: it is followed, unless something
    /// would be lost.
    pub async fn follow_successor(&self, theirs: Lineage, carried_on: LogEnd) -> Status {
        let me = self.config.node_id;
        let Ok(running) = self.running() else {
            return Status::unavailable("this node is starting: try again");
        };
        let end = log_end(running);
        if end > carried_on {
            self.memory.note_left_behind(&theirs, end, carried_on);
            return Status::failed_precondition(format!(
                "node {me} has the metadata up to {end}, and the quorum {} carries it on only up to {carried_on}: it \
                 follows by an administrator's word, see `ottla quorum recover`",
                theirs.id
            ));
        }
        let id = theirs.id;
        match self.start_again_for(Next::Follow { quorum: theirs, up_to: Some(carried_on) }).await {
            Ok(()) => Status::unavailable(format!("node {me} starts again to follow the quorum {id}")),
            Err(status) => status,
        }
    }

    async fn start_again_for(&self, next: Next) -> Result<(), Status> {
        let written = begin_to_start_again(next, &self.tasks, &self.memory, &self.start_again);
        written.await.map_err(|error| match error.kind() {
            io::ErrorKind::AlreadyExists => Status::aborted(error.to_string()),
            _ => Status::unavailable(format!("it can't be written down: {error}")),
        })
    }
}

/// Writes down what is to be done at the next start, and has the node start again. Both happen even if the
/// caller doesn't wait for it: what is written down and not begun would be done at some start years later.
fn begin_to_start_again(
    next: Next,
    tasks: &Tasks,
    memory: &Arc<Memory>,
    start_again: &watch::Sender<Option<String>>,
) -> impl Future<Output = io::Result<()>> + use<> {
    let (memory, start_again) = (Arc::clone(memory), start_again.clone());
    let written = tasks.spawn_blocking("write down the metadata quorum", move || {
        let what = next.to_string();
        memory.remember_next(next)?;
        start_again.send_replace(Some(what));
        Ok(())
    });
    async { written.await.map_err(io::Error::other)? }
}

/// The last entry of this node's log.
fn log_end(running: &Running) -> LogEnd {
    end_of(running.raft.data_metrics().borrow().last_log)
}

fn end_of(last: Option<LogId>) -> LogEnd {
    last.map_or_else(LogEnd::default, |last| LogEnd { term: last.leader_id.term, index: last.index })
}

fn succeeding(ours: &Lineage, end: LogEnd) -> io::Result<Lineage> {
    let mut id = [0; 16];
    getrandom::fill(&mut id).map_err(|error| io::Error::other(error.to_string()))?;
    let mut succeeds = vec![Ancestor { id: ours.id, end }];
    succeeds.extend(&ours.succeeds);
    Ok(Lineage { id: QuorumId(id), succeeds })
}

/// Does what was written down before this start, if anything was.
///
/// # Errors
/// The disk's, and `InvalidData` when the log can't be read.
pub fn carry_out(
    node: &Node,
    disk: &Arc<dyn Disk>,
    folder: &Path,
    cluster_id: ClusterId,
    directory_id: DirectoryId,
) -> io::Result<()> {
    let Some(next) = node.memory.next() else { return Ok(()) };
    tracing::warn!("{next}");
    let quorum = match next {
        Next::Rebuild { quorum, beyond } => {
            let identity = identity::load(disk.as_ref(), folder, directory_id)?;
            rebuild(disk, folder, cluster_id, &node.config, identity, beyond)?;
            quorum
        }
        Next::Follow { quorum, up_to } => {
            let ours = node.memory.lineage();
            let end = last_entry(disk, folder, cluster_id, &node.config)?;
            if let (Some(up_to), Some(ours)) = (up_to.filter(|up_to| end > *up_to), ours) {
                tracing::warn!(%end, carried_on = %up_to, "it is not followed: this node's log has newer entries by now");
                return node.memory.remember(ours);
            }
            put_aside(disk.as_ref(), &node.config.log_dir, folder, node.memory.lineage())?;
            quorum
        }
    };
    node.memory.remember(quorum)
}

/// The last entry of the log in `folder`, which isn't open; the oldest possible one if there is no log.
fn last_entry(
    disk: &Arc<dyn Disk>,
    folder: &Path,
    cluster_id: ClusterId,
    config: &QuorumConfig,
) -> io::Result<LogEnd> {
    if !log_store::exists(folder) {
        return Ok(LogEnd::default());
    }
    let entries = log_store::read_all(disk.clone(), folder, config.tuning.log_segment_bytes)?.entries;
    match entries.last() {
        Some(last) => Ok(end_of(Some(last.log_id))),
        None => Ok(end_of(state_machine::replayed(disk.clone(), folder, cluster_id, entries)?.last)),
    }
}

/// Keeps the log of the quorum that isn't followed any more, under another name.
fn put_aside(disk: &dyn Disk, dir: &Path, folder: &Path, quorum: Option<Lineage>) -> io::Result<()> {
    let id = quorum.map(|quorum| quorum.id).unwrap_or_default();
    let taken: BTreeSet<String> = disk.list(dir)?.into_iter().map(|entry| entry.name).collect();
    // A quorum may be left more than once. Unlike a partition's folder, whose name ends with a number.
    let (mut free, mut number) = (format!("ottla-quorum-{id}.old"), 2);
    while taken.contains(&free) {
        free = format!("ottla-quorum-{id}-{number}.old");
        number += 1;
    }
    let aside = dir.join(free);
    match disk.rename(folder, &aside) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        renamed => renamed?,
    }
    tracing::warn!(kept = %aside.display(), "the metadata log of the quorum before is kept until you remove it");
    disk.sync_dir(dir)
}

/// Makes the log in `folder` that of a quorum with this node as its sole voter.
fn rebuild(
    disk: &Arc<dyn Disk>,
    folder: &Path,
    cluster_id: ClusterId,
    config: &QuorumConfig,
    identity: Identity,
    beyond: LogEnd,
) -> io::Result<()> {
    let contents = log_store::read_all(disk.clone(), folder, config.tuning.log_segment_bytes)?;
    let replayed = state_machine::replayed(disk.clone(), folder, cluster_id, contents.entries)?;
    let end = end_of(replayed.last);
    let voted = contents.vote.map_or(0, |vote| vote.leader_id().term);
    let term = end.term.max(beyond.term).max(voted) + TERMS_SKIPPED;
    let index = end.index.max(beyond.index) + INDEXES_SKIPPED;
    let last = LogId::new(CommittedLeaderId::new(term, config.node_id), index);
    let image = replayed.image.carried_on(MetadataVersion(index), config.node_id);
    let meta = SnapshotMeta {
        last_log_id: Some(last),
        last_membership: StoredMembership::new(Some(last), alone(config, identity, &replayed.membership)),
        snapshot_id: format!("{term}-{index}"),
    };
    let bytes = snapshot_file::encode(&image, &meta)?;
    snapshot_file::save(disk.as_ref(), folder, &meta, &bytes)?;
    log_store::begin_after(disk.as_ref(), folder, last, Vote::new(term, config.node_id))?;
    tracing::warn!(from = %end, topics = image.topics.len(), "rebuilt the metadata quorum: this node alone votes");
    Ok(())
}

/// This node votes. The others that were members learn, so that they are told, and vote again as the quorum
/// grows.
fn alone(
    config: &QuorumConfig,
    identity: Identity,
    before: &StoredMembership,
) -> Membership<BrokerId, Member> {
    let me = Member {
        addr: config.control_address.clone(),
        identity,
        wanted: true,
        controller: config.voter,
        dismissed: false,
    };
    let mut members: BTreeMap<BrokerId, Member> = before
        .nodes()
        .map(|(id, member)| (*id, Member { wanted: false, dismissed: false, ..member.clone() }))
        .collect();
    members.insert(config.node_id, me);
    Membership::new(vec![BTreeSet::from([config.node_id])], members)
}

#[cfg(test)]
mod tests {
    use ottla_store::RealDisk;

    use super::*;

    #[test]
    fn what_is_written_down_is_begun_though_the_administrator_no_longer_waits() {
        let dir = tempfile::tempdir().unwrap();
        let open = || Arc::new(Memory::open(Arc::new(RealDisk), dir.path(), true, true).unwrap());
        let quorum = |id| Lineage { id: QuorumId([id; 16]), succeeds: Vec::new() };
        open().remember(quorum(1)).unwrap();
        // One thread for what blocks, and it is busy until the caller is gone.
        let runtime =
            tokio::runtime::Builder::new_current_thread().max_blocking_threads(1).enable_all().build();
        let (busy, is_free) = std::sync::mpsc::channel::<()>();
        runtime.unwrap().block_on(async {
            let (tasks, memory, start_again) = (Tasks::default(), open(), watch::Sender::new(None));
            let thread = tasks.spawn_blocking("be busy", move || is_free.recv().ok());
            let next = Next::Rebuild { quorum: quorum(2), beyond: LogEnd::default() };
            drop(begin_to_start_again(next.clone(), &tasks, &memory, &start_again));
            drop(busy);
            thread.await.unwrap();
            let mut reasons = start_again.subscribe();
            let begun = reasons.wait_for(Option::is_some);
            tokio::time::timeout(Duration::from_secs(30), begun).await.expect("it starts again").unwrap();
            assert_eq!((memory.next(), open().next()), (Some(next.clone()), Some(next)));
        });
    }
}
