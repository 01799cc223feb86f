//! Which shards of the group coordinator run on this broker: one for each partition of `__consumer_offsets`
//! that it leads, in each epoch a new one.
//!
//! Partitions tell of each new role; a runner begins and ends with it. Whoever asks is answered by the shard,
//! or told at once why there is none. Not here: which partition a group has, and who may ask.

use std::collections::HashMap;
use std::sync::Arc;

use ottla_core::coordinator::{Machine, Shard, Unavailable};
use ottla_core::group::{Groups, Reply, Request};
use ottla_core::metadata::{MetadataImage, OFFSETS_TOPIC};
use ottla_core::partition::RoleKind;
use ottla_quorum::Tasks;
use ottla_types::{BrokerId, LeaderEpoch, PartitionIndex};
use parking_lot::Mutex;
use tokio::runtime::Handle;
use tokio::sync::{Semaphore, oneshot, watch};
use tokio::task::JoinSet;

use super::load::{DECISION_BYTES_MIN, Load, PIECES_AT_A_TIME, decision_bytes};
use super::mailbox::{Kept, Mailbox, Message, Returned};
use super::runner::{OwnMailbox, Runner};
use crate::config::CoordinatorConfig;
use crate::partitions::{Partition, PartitionKey, Partitions};

/// The group coordinators of this broker.
pub struct Host {
    node_id: BrokerId,
    config: CoordinatorConfig,
    partitions: Arc<Partitions>,
    images: watch::Receiver<Arc<MetadataImage>>,
    tasks: Tasks,
    /// Where shards run: they write to the disk.
    data: Handle,
    loads: Arc<Semaphore>,
    shards: Mutex<Shards>,
}

#[derive(Default)]
struct Shards {
    running: HashMap<PartitionKey, Hosted>,
    /// Whether none begins any more.
    is_stopped: bool,
}

/// A shard that runs, or ran until it found out by itself that it leads no more.
struct Hosted {
    epoch: LeaderEpoch,
    mailbox: Arc<Mailbox>,
}

/// An answer that comes, now or later.
#[derive(Debug)]
pub enum Asked {
    /// It is here.
    Answered(Reply),
    /// It comes. Without one, the shard has ended by a bug, and the broker ends.
    Later(oneshot::Receiver<Reply>),
}

impl Host {
    /// No shards yet. They read and write `partitions`, on the threads of `data`.
    pub fn new(
        node_id: BrokerId,
        config: CoordinatorConfig,
        partitions: Arc<Partitions>,
        images: watch::Receiver<Arc<MetadataImage>>,
        tasks: Tasks,
        data: Handle,
    ) -> Self {
        let loads = Arc::new(Semaphore::new(PIECES_AT_A_TIME));
        Self { node_id, config, partitions, images, tasks, data, loads, shards: Mutex::default() }
    }

    /// Asks the shard of a partition of `__consumer_offsets`. The request takes up `bytes` of memory, and
    /// `kept` is dropped once it is decided. It is in its shard's order when this returns.
    pub fn ask(&self, partition: PartitionIndex, request: Request, bytes: usize, kept: Kept) -> Asked {
        let image = Arc::clone(&self.images.borrow());
        let topic = image.topic(OFFSETS_TOPIC);
        let mailbox = topic.and_then(|topic| {
            let shards = self.shards.lock();
            shards.running.get(&(topic.id, partition)).map(|hosted| Arc::clone(&hosted.mailbox))
        });
        let (answer, answered) = oneshot::channel();
        let message = Message { request, answer, bytes, kept };
        let returned = match mailbox {
            None => Returned { request: message.request, why: Unavailable::NotCoordinator },
            Some(mailbox) => match mailbox.push(message) {
                Ok(()) => return Asked::Later(answered),
                Err(returned) => *returned,
            },
        };
        let why = match returned.why {
            // It will be in a moment.
            Unavailable::NotCoordinator if self.is_to_lead(&image, partition) => Unavailable::Loading,
            why => why,
        };
        Asked::Answered(Groups::unserved(&self.config.groups, &returned.request, why))
    }

    /// Whether clients that look for the partition's coordinator are sent here.
    fn is_to_lead(&self, image: &MetadataImage, partition: PartitionIndex) -> bool {
        let state = image.partition(OFFSETS_TOPIC, partition);
        state.is_some_and(|state| state.leader == Some(self.node_id)) && !self.shards.lock().is_stopped
    }

    /// Begins and ends shards as this broker's roles change, until it stops. Then all shards have ended, and
    /// all who waited were told.
    pub async fn run(self: Arc<Self>, mut stopping: watch::Receiver<bool>) {
        let roles = Arc::clone(self.partitions.roles());
        let mut runners = JoinSet::new();
        loop {
            while let Some(key) = roles.pop() {
                self.follow_role(key, &mut runners);
            }
            while runners.try_join_next().is_some() {}
            tokio::select! {
                () = roles.changed() => {}
                // Without a sender the broker is gone.
                _ = stopping.wait_for(|stopping| *stopping) => break,
            }
        }
        let ended = {
            let mut shards = self.shards.lock();
            shards.is_stopped = true;
            std::mem::take(&mut shards.running)
        };
        ended.values().for_each(|hosted| hosted.mailbox.close());
        while runners.join_next().await.is_some() {}
    }

    /// Ends the shard of an epoch that is over, and begins the next one's.
    fn follow_role(&self, key: PartitionKey, runners: &mut JoinSet<()>) {
        let partition = self.partitions.get(key.0, key.1);
        let led = partition.filter(|one| one.log.topic().as_str() == OFFSETS_TOPIC).and_then(|partition| {
            let standing = partition.standing();
            (standing.role == RoleKind::Leader).then_some((partition, standing.leader_epoch))
        });
        let mut shards = self.shards.lock();
        let epoch = led.as_ref().map(|(_, epoch)| *epoch);
        if shards.running.get(&key).is_some_and(|hosted| Some(hosted.epoch) != epoch)
            && let Some(old) = shards.running.remove(&key)
        {
            old.mailbox.close();
        }
        if let Some((partition, epoch)) = led
            && !shards.running.contains_key(&key)
        {
            let mailbox = Arc::new(Mailbox::default());
            shards.running.insert(key, Hosted { epoch, mailbox: Arc::clone(&mailbox) });
            let work = self.load_and_run(partition, epoch, OwnMailbox(mailbox));
            self.tasks.spawn_in(runners, &self.data, "coordinate groups", work);
        }
    }

    /// The whole life of a shard.
    fn load_and_run(
        &self,
        partition: Arc<Partition>,
        epoch: LeaderEpoch,
        mailbox: OwnMailbox,
    ) -> impl Future<Output = ()> + use<> {
        let decision_bytes_max = decision_bytes(&partition.log.config()).max(DECISION_BYTES_MIN);
        let limits = self.config.shard_limits(decision_bytes_max);
        let shard = Shard::new(epoch, limits, Groups::new(self.config.groups.clone()));
        let load = Load {
            partition: Arc::clone(&partition),
            epoch,
            mailbox: Arc::clone(&mailbox.0),
            tasks: self.tasks.clone(),
            places: Arc::clone(&self.loads),
            piece_bytes: self.config.load_buffer_bytes,
        };
        async move {
            if let Some(shard) = load.run(shard).await {
                Runner::new(partition, mailbox, shard).run().await;
            }
        }
    }
}

impl Asked {
    /// The answer; none if the broker ends by a bug.
    pub async fn answer(self) -> Option<Reply> {
        match self {
            Self::Answered(reply) => Some(reply),
            Self::Later(answered) => answered.await.ok(),
        }
    }
}
