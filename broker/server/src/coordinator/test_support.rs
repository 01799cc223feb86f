//! What this room's tests share: a broker's coordinators over a data folder, and what is asked of them.

use std::cell::Cell;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use ottla_core::coordinator::Unavailable;
use ottla_core::group::{
    Client, Generation, JoinGroup, ListGroups, OffsetCommit, OffsetFetch, OffsetToCommit, Protocol, Reply,
    Request,
};
use ottla_core::metadata::{Command, CreateTopics, MetadataImage, NewTopic, OFFSETS_TOPIC};
use ottla_core::partition::{Assignment, Peer};
use ottla_quorum::Tasks;
use ottla_store::Store;
use ottla_types::{
    BrokerEpoch, BrokerId, DirectoryId, LeaderEpoch, PartitionEpoch, PartitionIndex, TopicId, TopicName,
    TopicPartition,
};
use tokio::runtime::Handle;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::timeout;

use super::{Asked, Host};
use crate::config::CoordinatorConfig;
use crate::partitions::test_support::{CLUSTER, after, open, with_live_broker};
use crate::partitions::{Partition, Partitions};

const ME: BrokerId = BrokerId(1);
const TOPIC: TopicId = TopicId([9; 16]);

/// The broker's shards, of which it leads three alone at first.
pub struct World {
    pub store: Arc<Store>,
    pub partitions: Arc<Partitions>,
    pub host: Arc<Host>,
    pub tasks: Tasks,
    pub stop: watch::Sender<bool>,
    pub running: JoinHandle<()>,
    images: watch::Sender<Arc<MetadataImage>>,
    without_topic: MetadataImage,
    next_epoch: Cell<i32>,
}

/// What an image says of a partition that this broker leads, mostly.
pub struct Led<'a> {
    pub leader: i32,
    pub isr: &'a [i32],
    pub minimum: usize,
}

/// It leads alone.
pub const ALONE: Led<'static> = Led { leader: 1, isr: &[1], minimum: 1 };

pub const FIRST: PartitionIndex = PartitionIndex(0);
pub const SECOND: PartitionIndex = PartitionIndex(1);

/// Times that tests can wait for.
pub fn quick() -> CoordinatorConfig {
    let mut config =
        CoordinatorConfig { commit_timeout: Duration::from_millis(200), ..CoordinatorConfig::default() };
    config.groups.initial_rebalance_delay_ms = 50;
    config
}

impl World {
    pub fn new(folder: &Path, config: CoordinatorConfig) -> Self {
        let (store, partitions) = open(folder, ME);
        let partitions = Arc::new(partitions);
        let without_topic = with_live_broker(&MetadataImage::new(CLUSTER), ME, 1, store.directory_id());
        let topic = NewTopic {
            name: OFFSETS_TOPIC.to_owned(),
            id: TOPIC,
            partitions: 3,
            replication_factor: 1,
            assignments: Vec::new(),
            config: vec![("cleanup.policy".to_owned(), Some("compact".to_owned()))],
        };
        let create = CreateTopics {
            topics: vec![topic],
            validate_only: false,
            default_partitions: 1,
            default_replication_factor: 1,
        };
        let image = after(&without_topic, &Command::CreateTopics(create));
        let (images, known) = watch::channel(Arc::new(image.clone()));
        let (tasks, (stop, stopping)) = (Tasks::default(), watch::channel(false));
        let (of, on) = (Arc::clone(&partitions), Handle::current());
        let host = Arc::new(Host::new(ME, config, of, known, tasks.clone(), on));
        partitions.apply(None, &image);
        let running = tasks.spawn("host group coordinators", Arc::clone(&host).run(stopping));
        let next_epoch = Cell::new(10);
        Self { store, partitions, host, tasks, stop, running, images, without_topic, next_epoch }
    }

    pub fn partition(&self, index: PartitionIndex) -> Arc<Partition> {
        self.partitions.get(TOPIC, index).expect("the partition is open")
    }

    /// Another image: in a new epoch, or in the one that there is.
    pub fn image(&self, index: PartitionIndex, led: &Led<'_>, is_new_epoch: bool) {
        let partition = self.partition(index);
        let epoch = self.next_epoch.get();
        self.next_epoch.set(epoch + 1);
        let leader_epoch = match is_new_epoch {
            true => LeaderEpoch(epoch),
            false => partition.standing().leader_epoch,
        };
        let peer = |id| Peer {
            broker: BrokerId(id),
            directory: DirectoryId([1; 16]),
            broker_epoch: Some(BrokerEpoch(1)),
            may_join: true,
        };
        let assignment = Assignment {
            leader: Some(BrokerId(led.leader)),
            leader_epoch,
            partition_epoch: PartitionEpoch(epoch),
            replicas: [1, 2].map(peer).to_vec(),
            isr: led.isr.iter().copied().map(BrokerId).collect(),
            elr: Vec::new(),
            min_insync_replicas: led.minimum,
        };
        partition.on_image(assignment, |_| Arc::default());
    }

    /// Another broker leads, and clients are told so.
    pub fn leads_elsewhere_by_the_image(&self) {
        let mut image = MetadataImage::clone(&self.images.borrow());
        let topic = image.topics.get(&TOPIC).expect("the topic is there");
        let mut topic = (**topic).clone();
        for partition in &mut topic.partitions {
            partition.leader = Some(BrokerId(2));
        }
        image.topics.insert(TOPIC, Arc::new(topic));
        self.images.send_replace(Arc::new(image));
    }

    /// The topic is deleted.
    pub fn delete_topic(&self) {
        let before = Arc::clone(&self.images.borrow());
        self.images.send_replace(Arc::new(self.without_topic.clone()));
        self.partitions.apply(Some(&before), &self.without_topic);
    }

    pub fn ask(&self, index: PartitionIndex, request: Request) -> Asked {
        self.host.ask(index, request, 100, Box::new(()))
    }

    /// Asks the first partition's shard, and waits for the answer. What is appended meanwhile is synced.
    pub async fn answer(&self, request: Request) -> Reply {
        self.answer_of(self.ask(FIRST, request)).await
    }

    /// Waits for an answer. What is appended meanwhile is synced.
    pub async fn answer_of(&self, asked: Asked) -> Reply {
        let mut answer = std::pin::pin!(asked.answer());
        let deadline = Instant::now() + PATIENCE;
        loop {
            if let Ok(answer) = timeout(Duration::from_millis(5), &mut answer).await {
                return answer.expect("the shard hasn't ended by a bug");
            }
            self.store.commit_now().unwrap();
            assert!(Instant::now() < deadline, "it is never answered");
        }
    }

    /// Waits until a shard serves.
    pub async fn serves(&self, index: PartitionIndex) {
        until("it serves", async || {
            self.store.commit_now().unwrap();
            // The one before it may still be there, and resign.
            matches!(self.answer_of(self.ask(index, list())).await, Reply::ListGroups(Ok(_)))
        })
        .await;
    }

    /// Waits until the first partition's log ends there.
    pub async fn appended_up_to(&self, end: i64) {
        until("it is appended", async || self.partition(FIRST).log.end_offset().0 >= end).await;
    }

    /// The offset of partition 0 of topic `t` that is committed, as it is told.
    pub async fn committed(&self, group: &str) -> Option<i64> {
        let Reply::OffsetFetch(Ok(fetched)) = self.answer(fetch(group)).await else { panic!("it serves") };
        fetched[0].committed.as_ref().map(|committed| committed.offset.0)
    }

    /// Ends all, and waits for it.
    pub async fn stopped(self) {
        self.stop.send_replace(true);
        soon(self.running).await.unwrap();
        self.store.close().unwrap();
    }
}

const PATIENCE: Duration = Duration::from_secs(30);

/// Waits for what has to happen.
pub async fn soon<T>(what: impl Future<Output = T>) -> T {
    timeout(PATIENCE, what).await.expect("it happens in time")
}

/// Waits until a condition holds.
pub async fn until(what: &str, mut holds: impl AsyncFnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !holds().await {
        assert!(Instant::now() < deadline, "never: {what}");
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
}

pub fn list() -> Request {
    Request::ListGroups(ListGroups { granted_bytes: usize::MAX, ..ListGroups::default() })
}

pub fn commit(group: &str, offset: i64) -> Request {
    commit_with(group, offset, 0)
}

/// With so many bytes of metadata.
pub fn commit_with(group: &str, offset: i64, metadata_bytes: usize) -> Request {
    let one = OffsetToCommit {
        topic: TopicName::new("t").unwrap(),
        topic_id: TopicId([3; 16]),
        partition: PartitionIndex(0),
        offset: ottla_types::Offset(offset),
        leader_epoch: None,
        metadata: Some("m".repeat(metadata_bytes).into()),
    };
    Request::OffsetCommit(OffsetCommit {
        group: group.into(),
        member: None,
        instance: None,
        generation: Generation(-1),
        retention_ms: None,
        offsets: vec![one],
    })
}

pub fn fetch(group: &str) -> Request {
    let partition = TopicPartition { topic: TopicName::new("t").unwrap(), partition: PartitionIndex(0) };
    Request::OffsetFetch(OffsetFetch {
        group: group.into(),
        partitions: Some(vec![partition]),
        require_stable: false,
        granted_bytes: usize::MAX,
    })
}

pub fn join(group: &str) -> Request {
    Request::JoinGroup(JoinGroup {
        group: group.into(),
        member: None,
        instance: None,
        client: Client { id: "c".into(), host: "/h".into() },
        session_timeout_ms: 10_000,
        rebalance_timeout_ms: 10_000,
        protocol_type: "consumer".to_owned(),
        protocols: vec![Protocol { name: "range".into(), metadata: Arc::from([]) }],
        knows_member_id_required: false,
        knows_skip_assignment: false,
        fresh_id: "1".to_owned(),
    })
}

pub fn committed_fine() -> Reply {
    Reply::OffsetCommit(Ok(vec![Ok(())]))
}

pub fn not_committed(why: Unavailable) -> Reply {
    Reply::OffsetCommit(Err(why.into()))
}
