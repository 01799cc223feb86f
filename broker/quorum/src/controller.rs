//! The active controller: takes commands, decides, and answers once the decision is committed.
//!
//! Runs on every voter and does something only on the leader. One entry is under way at a time; commands that
//! wait meanwhile go into the next one together. A decision holds only for the image that it was made upon:
//! the state machine refuses it on any other, and it is made again.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use openraft::error::{ClientWriteError, RaftError};
use ottla_core::metadata::{Command, MetadataImage, Record, Rejection, Reply};
use ottla_types::{BrokerId, MetadataVersion};
use tokio::sync::{mpsc, oneshot, watch};

use crate::raft_types::{Applied, Change, Raft};
use crate::room::Room;
use crate::tasks::Tasks;

/// How many commands go into one entry.
const COMMANDS_PER_ENTRY_MAX: usize = 64;

/// With so many changes an entry takes no further command: a large entry holds up everybody.
const CHANGES_PER_ENTRY: usize = 1_000;

/// How often a refused decision is made again before its commands are given back.
const ATTEMPTS_MAX: usize = 20;

/// For how long the active controller waits to hear that it still is one.
const CONFIRM_LIMIT: Duration = Duration::from_secs(2);

/// A command's outcome, and the version from which on every image has it.
pub type Outcome = (Result<Reply, Rejection>, MetadataVersion);

/// Why the controller of this node has no outcome.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unavailable {
    /// Another node is the active controller, or none is known.
    #[error("this node is not the active controller{}", .0.map(|id| format!(": ask node {id}")).unwrap_or_default())]
    NotActive(Option<BrokerId>),
    /// It has too much to do.
    #[error("the active controller has too many commands waiting: try again")]
    Busy,
    /// The disk of this node, the active controller as far as it knows, is full.
    #[error("the disk of node {0} is full, so that it can't be the active controller: make room there")]
    NoRoom(BrokerId),
    /// This node is stopping, or its disk failed.
    #[error("this node's quorum has stopped")]
    Stopped,
}

/// Hands commands to this node's controller.
#[derive(Clone)]
pub struct Controller {
    queue: mpsc::Sender<Queued>,
    /// Whether it takes commands: not while it hands over.
    open: Arc<AtomicBool>,
    node_id: BrokerId,
    room: Arc<Room>,
}

struct Queued {
    command: Command,
    answer: oneshot::Sender<Result<Outcome, Unavailable>>,
}

impl Controller {
    /// Starts the controller of this node, whose log waits in `room`. It ends with the last handle.
    pub fn start(
        raft: Raft,
        node_id: BrokerId,
        image: watch::Receiver<Arc<MetadataImage>>,
        room: Arc<Room>,
        queued_max: usize,
        tasks: &Tasks,
    ) -> Self {
        let (queue, waiting) = mpsc::channel(queued_max);
        tasks.spawn("decide commands", Task { raft, image }.run(waiting));
        Self { queue, open: Arc::new(AtomicBool::new(true)), node_id, room }
    }

    /// Takes commands from now on, or no longer.
    pub fn set_open(&self, open: bool) {
        self.open.store(open, Ordering::Relaxed);
    }

    /// Decides a command, if this node is the active controller.
    ///
    /// # Errors
    /// See [`Unavailable`].
    pub async fn decide(&self, command: Command) -> Result<Outcome, Unavailable> {
        if !self.open.load(Ordering::Relaxed) {
            return Err(Unavailable::NotActive(None));
        }
        if self.room.is_short() {
            return Err(Unavailable::NoRoom(self.node_id));
        }
        let (answer, outcome) = oneshot::channel();
        self.queue.try_send(Queued { command, answer }).map_err(|error| match error {
            mpsc::error::TrySendError::Full(_) => Unavailable::Busy,
            mpsc::error::TrySendError::Closed(_) => Unavailable::Stopped,
        })?;
        outcome.await.unwrap_or(Err(Unavailable::Stopped))
    }
}

struct Task {
    raft: Raft,
    image: watch::Receiver<Arc<MetadataImage>>,
}

impl Task {
    async fn run(self, mut waiting: mpsc::Receiver<Queued>) {
        let mut batch = Vec::with_capacity(COMMANDS_PER_ENTRY_MAX);
        while waiting.recv_many(&mut batch, COMMANDS_PER_ENTRY_MAX).await > 0 {
            // Who gave up needs no decision any more.
            batch.retain(|queued| !queued.answer.is_closed());
            let (mut commands, mut answers): (Vec<Command>, Vec<_>) =
                batch.drain(..).map(|queued| (queued.command, queued.answer)).unzip();
            while !commands.is_empty() {
                match self.decide_and_commit(&commands).await {
                    Ok((outcomes, version)) => {
                        commands.drain(..outcomes.len());
                        for (answer, outcome) in answers.drain(..outcomes.len()).zip(outcomes) {
                            let _ = answer.send(Ok((outcome, version)));
                        }
                    }
                    Err(unavailable) => {
                        commands.clear();
                        for answer in answers.drain(..) {
                            let _ = answer.send(Err(unavailable.clone()));
                        }
                    }
                }
            }
        }
    }

    /// Decides the commands one after the other, or the first ones if they lead to much, and commits that in
    /// one entry.
    async fn decide_and_commit(
        &self,
        commands: &[Command],
    ) -> Result<(Vec<Result<Reply, Rejection>>, MetadataVersion), Unavailable> {
        for _ in 0..ATTEMPTS_MAX {
            let image = self.image.borrow().clone();
            let (records, outcomes) = decide_first(&image, commands);
            if records.is_empty() {
                self.confirm().await?;
                if self.image.borrow().changed == image.changed {
                    return Ok((outcomes, image.version));
                }
            } else if let Some(version) = self.commit(Change { base: image.version, records }).await? {
                return Ok((outcomes, version));
            }
            tracing::debug!(base = image.version.0, "a decision was made upon an old image, deciding again");
        }
        Err(Unavailable::Busy)
    }

    /// Before an answer that changes nothing is given, this node makes sure that it is still the active
    /// controller and has applied every committed entry.
    async fn confirm(&self) -> Result<(), Unavailable> {
        match tokio::time::timeout(CONFIRM_LIMIT, self.raft.ensure_linearizable()).await {
            Ok(Ok(_)) => Ok(()),
            Ok(Err(_)) | Err(_) => Err(Unavailable::NotActive(self.other_leader())),
        }
    }

    /// The version with the change, or none when it was refused.
    async fn commit(&self, change: Change) -> Result<Option<MetadataVersion>, Unavailable> {
        match self.raft.client_write(change).await {
            Ok(response) => {
                let version = MetadataVersion(response.log_id.index);
                Ok((response.data == Applied::Accepted).then_some(version))
            }
            Err(RaftError::APIError(ClientWriteError::ForwardToLeader(forward))) => {
                Err(Unavailable::NotActive(forward.leader_id))
            }
            Err(error) => {
                tracing::debug!(%error, "the metadata quorum has stopped");
                Err(Unavailable::Stopped)
            }
        }
    }

    fn other_leader(&self) -> Option<BrokerId> {
        let metrics = self.raft.metrics();
        let metrics = metrics.borrow();
        metrics.current_leader.filter(|leader| *leader != metrics.id)
    }
}

/// Decides as many of the commands as one entry takes: the records, and an outcome for each.
fn decide_first(image: &MetadataImage, commands: &[Command]) -> (Vec<Record>, Vec<Result<Reply, Rejection>>) {
    let mut working = image.clone();
    let (mut records, mut changed) = (Vec::new(), 0);
    let mut outcomes = Vec::with_capacity(commands.len());
    for command in commands {
        let decision = working.decide(command);
        if !decision.records.is_empty() {
            // As if it were committed; the real version comes later, and only its order matters here.
            let version = MetadataVersion(working.version.0 + 1);
            working.apply(version, &decision.records);
        }
        changed += decision.records.iter().map(changes).sum::<usize>();
        records.extend(decision.records);
        outcomes.push(decision.outcome);
        if changed >= CHANGES_PER_ENTRY {
            break;
        }
    }
    (records, outcomes)
}

/// How many things a record changes.
fn changes(record: &Record) -> usize {
    match record {
        Record::PartitionsChanged(partitions) => partitions.len(),
        Record::PartitionsCreated { partitions, .. } => partitions.len(),
        _ => 1,
    }
}

#[cfg(test)]
mod tests {
    use ottla_core::metadata::{CreateTopics, NewTopic, UnfenceBroker};
    use ottla_types::{BrokerEpoch, ClusterId, TopicId};

    use super::*;
    use crate::test_commands::register;

    fn create(number: u8, partitions: i32) -> Command {
        let name = format!("topic-{number}");
        let topic = NewTopic {
            name,
            id: TopicId([number + 1; 16]),
            partitions,
            replication_factor: 1,
            assignments: vec![],
            config: vec![],
        };
        Command::CreateTopics(CreateTopics {
            topics: vec![topic],
            validate_only: false,
            default_partitions: 1,
            default_replication_factor: 1,
        })
    }

    #[test]
    fn an_entry_takes_commands_until_it_is_large() {
        let mut image = MetadataImage::new(ClusterId([1; 16]));
        let unfence = UnfenceBroker { id: BrokerId(0), epoch: BrokerEpoch(1) };
        let register = Command::RegisterBroker(register(BrokerId(0)));
        for (version, command) in [(1, register), (2, Command::UnfenceBroker(unfence))] {
            image.apply(MetadataVersion(version), &image.decide(&command).records);
        }
        let small = |count: u8| (0..count).map(|number| create(number, 1)).collect::<Vec<_>>();
        let large = |count: u8| (0..count).map(|number| create(number, 700)).collect::<Vec<_>>();
        for (commands, taken) in [(small(60), 60), (large(60), 2), (large(1), 1)] {
            let (records, outcomes) = decide_first(&image, &commands);
            assert!(outcomes.iter().all(|outcome| matches!(
                outcome,
                Ok(Reply::TopicsCreated(created)) if created[0].is_ok()
            )));
            assert_eq!((outcomes.len(), records.is_empty()), (taken, false));
        }
    }
}
