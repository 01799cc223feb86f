//! Keeps this broker's logs in step with the metadata: creates, opens, configures and deletes them.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use ottla_core::config::{AckDurability, BrokerDefaults, ThrottledReplicas, TopicConfig};
use ottla_core::metadata::{IncarnationId, MetadataImage, PartitionImage, TopicImage};
use ottla_core::partition::{Assignment, Replica, RoleKind, SavedHighWatermark};
use ottla_log::{AckDurability as LogDurability, CompactionConfig, LogConfig, TimestampType};
use ottla_store::{PartitionLog, Store, StoreError};
use ottla_types::{BrokerId, DirectoryId, MetadataVersion, Offset, PartitionIndex, TopicId, TopicName};
use parking_lot::{Mutex, RwLock};
use tokio::sync::watch;
use tracing::{error, info, warn};

use super::from_future::FromFuture;
use super::high_watermarks;
use super::partition::{Lists, Partition, Throttled};
use super::purgatory::Crowds;
use super::ready::{PartitionKey, ReadyList};
use super::streams::Streams;

/// The partitions of this broker.
pub struct Partitions {
    node_id: BrokerId,
    /// This process. An image that knows another one of this broker may give it roles that it had before it
    /// lost what wasn't synced.
    incarnation: IncarnationId,
    store: Arc<Store>,
    /// What this broker's own configuration gives topics that don't set it.
    configured: BrokerDefaults,
    /// The same under what was set while brokers run.
    defaults: RwLock<Arc<BrokerDefaults>>,
    /// How long a member of a partition that this broker leads may lag.
    lag_max: Duration,
    streams: Streams,
    /// The data folder.
    folder: PathBuf,
    /// The high watermarks that were saved before this process started.
    saved: HashMap<PartitionKey, SavedHighWatermark>,
    /// The ones that were saved last.
    saved_last: Mutex<BTreeMap<PartitionKey, SavedHighWatermark>>,
    /// Where they say what is to be done for them.
    lists: Lists,
    /// Partitions whose logs are damaged.
    damaged: Arc<ReadyList>,
    open: RwLock<HashMap<PartitionKey, Arc<Partition>>>,
    applied: watch::Sender<MetadataVersion>,
    /// When the image that is being applied got on by a partition last.
    applying: Mutex<Option<Instant>>,
    /// Whether the metadata was complete once, so that a log it doesn't know is known to be a stranger's.
    complete: AtomicBool,
    /// Whether what it had of this broker then is open.
    settled: AtomicBool,
    /// Where records are dated so far ahead that retention keeps them.
    from_future: FromFuture,
}

/// Sums over all partitions.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Totals {
    /// Partitions whose acks=all means synced.
    pub synced: usize,
    /// Partitions whose acks=all means written.
    pub written: usize,
    /// Records appended and not yet durable.
    pub lag_records: i64,
    /// Bytes of their logs.
    pub log_bytes: u64,
    /// Partitions that this broker leads.
    pub led: usize,
    /// Those of them that have replicas which aren't in sync.
    pub under_replicated: usize,
    /// Those of them of which so few replicas are in sync that nothing is acknowledged.
    pub under_min_isr: usize,
    /// Partitions without a leader.
    pub offline: usize,
    /// How many records the follower that is furthest behind lacks.
    pub follower_lag_records: i64,
    /// Partitions in which records that are dated far ahead keep a segment.
    pub from_future: usize,
}

impl Totals {
    fn add(&mut self, replica: &Replica, end: Offset) {
        let Some(assignment) = replica.assignment() else { return };
        match replica.role() {
            RoleKind::Leader => {
                self.led += 1;
                self.under_replicated += usize::from(assignment.isr.len() < assignment.replicas.len());
                self.under_min_isr += usize::from(assignment.is_under_minimum());
                let lags = replica.followers().map(|(_, progress)| end.0 - progress.acknowledged.0);
                self.follower_lag_records = lags.fold(self.follower_lag_records, i64::max);
            }
            RoleKind::Offline => self.offline += 1,
            RoleKind::Follower(_) => {}
        }
    }
}

impl Partitions {
    /// No partitions yet; `configured` is what this broker's own configuration gives topics that don't set
    /// it. `lag_max` is how long a member of a partition that this broker leads may lag.
    pub fn new(
        (node_id, incarnation): (BrokerId, IncarnationId),
        store: Arc<Store>,
        folder: PathBuf,
        configured: BrokerDefaults,
        lag_max: Duration,
        streams: Streams,
    ) -> Self {
        let (applied, _) = watch::channel(MetadataVersion(0));
        Self {
            node_id,
            incarnation,
            store,
            defaults: RwLock::new(Arc::new(configured.clone())),
            configured,
            lag_max,
            streams,
            saved: high_watermarks::load(&folder),
            saved_last: Mutex::default(),
            folder,
            lists: Lists::default(),
            damaged: Arc::default(),
            open: RwLock::default(),
            applied,
            applying: Mutex::default(),
            complete: AtomicBool::new(false),
            settled: AtomicBool::new(false),
            from_future: FromFuture::default(),
        }
    }

    /// The partition, if this broker has it open.
    pub fn get(&self, topic: TopicId, index: PartitionIndex) -> Option<Arc<Partition>> {
        self.open.read().get(&(topic, index)).cloned()
    }

    /// The disk's id.
    pub fn directory(&self) -> DirectoryId {
        self.store.directory_id()
    }

    /// The partitions that have something to propose to the controller.
    pub fn proposals(&self) -> &Arc<ReadyList> {
        &self.lists.proposals
    }

    /// The partitions of internal topics whose role is another, or that are gone.
    pub fn roles(&self) -> &Arc<ReadyList> {
        &self.lists.roles
    }

    /// The partitions for which more wait than are woken at once.
    pub fn crowds(&self) -> &Arc<Crowds> {
        &self.lists.crowds
    }

    /// The partitions whose logs are damaged.
    pub fn damaged(&self) -> &Arc<ReadyList> {
        &self.damaged
    }

    /// Deletes what the topics' settings don't retain. Blocks on the disk. Returns the number of segments
    /// deleted.
    ///
    /// First what can go at once, as a disk may be full; what must be read before it goes does so segment by
    /// segment. Logs of which the metadata knows nothing aren't touched.
    pub fn enforce_retention(&self, now_ms: i64) -> usize {
        let partitions = self.all();
        let mut deleted: usize = partitions.iter().map(|partition| partition.enforce_retention(now_ms)).sum();
        for partition in &partitions {
            while partition.learn_age(now_ms) {
                deleted += partition.enforce_retention(now_ms);
            }
        }
        self.from_future.look(&partitions, now_ms);
        deleted
    }

    /// All that are open. Whoever looks at them does it without the map's lock: a partition may have to be
    /// waited for, and no lookup waits then.
    fn all(&self) -> Vec<Arc<Partition>> {
        self.open.read().values().cloned().collect()
    }

    /// The partitions that this broker leads.
    pub fn led(&self) -> Vec<Arc<Partition>> {
        self.in_role(RoleKind::Leader)
    }

    /// The partitions that this broker follows `leader` in.
    pub fn followed_from(&self, leader: BrokerId) -> Vec<PartitionKey> {
        self.in_role(RoleKind::Follower(leader)).iter().map(|partition| partition.key()).collect()
    }

    /// Whether this broker follows `leader` in any partition.
    pub fn follows(&self, leader: BrokerId) -> bool {
        let role = RoleKind::Follower(leader);
        self.all().iter().any(|partition| partition.standing().role == role)
    }

    fn in_role(&self, role: RoleKind) -> Vec<Arc<Partition>> {
        let mut all = self.all();
        all.retain(|partition| partition.standing().role == role);
        all
    }

    /// How many are open.
    pub fn count(&self) -> usize {
        self.open.read().len()
    }

    /// What topics have that don't set it.
    pub fn defaults(&self) -> Arc<BrokerDefaults> {
        Arc::clone(&self.defaults.read())
    }

    /// Takes over what `image` says was set on this broker and on all of them; whether anything is another
    /// since `before`.
    fn set_defaults(&self, before: Option<&MetadataImage>, image: &MetadataImage) -> bool {
        let of = |id: Option<BrokerId>| {
            (image.broker_configs.get(&id), before.and_then(|b| b.broker_configs.get(&id)))
        };
        let ((own, own_before), (of_all, of_all_before)) = (of(Some(self.node_id)), of(None));
        let is_other = (own, of_all) != (own_before, of_all_before);
        if is_other {
            *self.defaults.write() = Arc::new(self.configured.with_dynamic(own, of_all));
        }
        is_other
    }

    /// The version of the metadata up to which everything is done.
    pub fn applied(&self) -> watch::Receiver<MetadataVersion> {
        self.applied.subscribe()
    }

    /// Saves the high watermarks, if any has moved. Blocks on the disk.
    pub fn save_high_watermarks(&self) {
        let all = self.all();
        let now: BTreeMap<PartitionKey, SavedHighWatermark> =
            all.iter().map(|partition| (partition.key(), partition.high_watermark_to_save())).collect();
        let mut last = self.saved_last.lock();
        if *last == now {
            return;
        }
        match high_watermarks::save(&self.folder, &now) {
            Ok(()) => *last = now,
            Err(error) => warn!(%error, "the high watermarks are not saved yet"),
        }
    }

    /// Whether this broker leads a partition that another live broker has a replica of, in `image`.
    pub fn could_hand_over(&self, image: &MetadataImage) -> bool {
        let mut partitions = image.topics.values().flat_map(|topic| &topic.partitions);
        partitions.any(|partition| {
            let mut others = partition.replicas.iter().filter(|id| **id != self.node_id);
            partition.leader == Some(self.node_id)
                && others.any(|id| image.broker(*id).is_some_and(|broker| broker.is_active()))
        })
    }

    /// Sums over all partitions.
    pub fn totals(&self) -> Totals {
        let mut totals = Totals { from_future: self.from_future.count(), ..Totals::default() };
        for partition in self.all() {
            let log = &partition.log;
            match log.config().ack_durability {
                LogDurability::Synced => totals.synced += 1,
                LogDurability::Written => totals.written += 1,
            }
            totals.lag_records += (log.end_offset().0 - log.durable_end_offset().0).max(0);
            totals.log_bytes += log.size_bytes();
            partition.with_replica(|replica| totals.add(replica, log.end_offset()));
        }
        totals
    }

    /// Brings the logs in step with `image`, coming from `before`; how many topics had to be looked at for
    /// it. Blocks on the disk.
    pub fn apply(&self, before: Option<&MetadataImage>, image: &MetadataImage) -> usize {
        let directory = self.store.directory_id();
        let empty = MetadataImage::new(image.cluster_id);
        let changed: Vec<_> = image.topics_changed_since(before.unwrap_or(&empty)).collect();
        // First what goes, as a topic may come again under its name.
        for topic in changed.iter().filter_map(|(old, new)| old.filter(|_| new.is_none())) {
            topic.numbered().for_each(|(index, _)| self.delete(topic, index));
        }
        // Who may be in sync depends on the brokers as well, and what topics have by default on what is set
        // on those.
        let same_brokers = before
            .is_some_and(|before| before.brokers.ptr_eq(&image.brokers) && before.defaults == image.defaults);
        let other_defaults = self.set_defaults(before, image);
        let looked_at = if same_brokers && !other_defaults {
            changed
                .iter()
                .filter_map(|(_, new)| *new)
                .for_each(|new| self.apply_topic(image, new, directory));
            changed.len()
        } else {
            image.topics.values().for_each(|topic| self.apply_topic(image, topic, directory));
            image.topics.len()
        };
        *self.applying.lock() = None;
        self.applied.send_replace(image.version);
        looked_at
    }

    /// Whether `image` knows this process, and thereby all that was decided about the broker before it
    /// started.
    fn is_known(&self, image: &MetadataImage) -> bool {
        image.broker(self.node_id).is_some_and(|me| me.incarnation == self.incarnation)
    }

    fn apply_topic(&self, image: &MetadataImage, topic: &TopicImage, directory: DirectoryId) {
        let mut config = None;
        let throttled = |name| ThrottledReplicas::parse(topic.config.get(name).map_or("", String::as_str));
        let throttled_leaders = throttled("leader.replication.throttled.replicas");
        let throttled_followers = throttled("follower.replication.throttled.replicas");
        for (index, partition) in topic.numbered() {
            self.get_on();
            if !partition.is_on(self.node_id, directory) {
                if partition.replicas.contains(&self.node_id) && partition.leader.is_none() {
                    let (topic, partition) = (&topic.name, index);
                    warn!(%topic, %partition, "the partition was on another disk of this broker: it stays offline");
                }
                // It has moved away, and enough others have what it holds.
                if !partition.replicas.contains(&self.node_id) && self.is_known(image) {
                    self.let_go(topic, index, partition);
                }
                continue;
            }
            if self.lacks_records(topic, index, partition) || self.is_too_early_for(image, topic, index) {
                continue;
            }
            let config = config.get_or_insert_with(|| self.log_config(topic));
            let partition = match self.get(topic.id, index) {
                Some(open) => {
                    if *open.log.config() != *config {
                        open.log.set_config(config.clone());
                    }
                    open
                }
                None => match self.open_one(topic, index, config.clone()) {
                    Ok(opened) => opened,
                    Err(error) => {
                        error!(topic = %topic.name, partition = %index, %error, "cannot open the partition");
                        continue;
                    }
                },
            };
            partition.set_throttled(Throttled {
                leader: throttled_leaders.contains(index, self.node_id),
                follower: throttled_followers.contains(index, self.node_id),
            });
            if self.is_known(image)
                && let Some(assignment) = Assignment::of(image, topic, index)
            {
                partition.on_image(assignment, |leader| self.streams.from(leader));
            }
        }
    }

    /// Whether the partition has no folder, and the image is from before this process: later metadata may
    /// delete the partition, and a folder would be made for nothing. Nothing is done with it until then.
    fn is_too_early_for(&self, image: &MetadataImage, topic: &TopicImage, index: PartitionIndex) -> bool {
        !self.is_known(image) && self.store.partition(topic.id, index).is_none()
    }

    fn open_one(
        &self,
        topic: &TopicImage,
        index: PartitionIndex,
        config: LogConfig,
    ) -> Result<Arc<Partition>, StoreError> {
        let create = |config| self.store.create_partition(topic.name.clone(), topic.id, index, config);
        let log = match create(config.clone()) {
            // Until the metadata is complete the folder may belong to a topic that is still to be heard of.
            Err(StoreError::ForeignTopic { found, .. }) if self.complete.load(Ordering::Acquire) => {
                let aside = self.store.put_aside(found, index)?;
                warn!(topic = %topic.name, partition = %index, topic_id = %found, ?aside, "another topic had this name: its files are put aside");
                create(config)?
            }
            created => created?,
        };
        let saved = self.saved.get(&(topic.id, index)).copied().unwrap_or_default();
        let saved = saved.in_log(|offset| log.epoch_of(offset));
        let partition = Partition::new(self.node_id, log, saved, self.lag_max, self.lists.clone());
        self.open.write().insert(partition.key(), Arc::clone(&partition));
        let (damaged, key) = (Arc::clone(&self.damaged), partition.key());
        partition.log.add_damage_hook(Arc::new(move |_| damaged.push(key)));
        if !partition.log.damage().is_empty() {
            self.damaged.push(key);
        }
        Ok(partition)
    }

    /// Whether this broker should hold records of a partition and has no log of it. After a rebuild of the
    /// metadata quorum it may have given them up by a move that is lost: an empty log must not lead in their
    /// place.
    fn lacks_records(&self, topic: &TopicImage, index: PartitionIndex, partition: &PartitionImage) -> bool {
        let lacks = partition.is_carried_on()
            && partition.should_hold_records(self.node_id)
            && self.store.partition(topic.id, index).is_none();
        if lacks {
            error!(
                topic = %topic.name, partition = %index,
                "the rebuilt metadata says that this broker holds the partition's records, and its files aren't here: it stays \
                 offline. Another broker may have put them aside (a folder that ends with -stray): stop this one and move them \
                 here under the partition's name, or delete the topic"
            );
        }
        lacks
    }

    /// The partition isn't this broker's any more. After a rebuild of the metadata quorum that may be from
    /// before a move to this broker: unless it was in sync since, its files are put aside.
    fn let_go(&self, topic: &TopicImage, index: PartitionIndex, partition: &PartitionImage) {
        let was_in_sync = self.get(topic.id, index).is_some_and(|open| {
            open.with_replica(|replica| {
                replica.assignment().is_some_and(|assignment| assignment.isr.contains(&self.node_id))
            })
        });
        if was_in_sync || !partition.is_carried_on() {
            return self.delete(topic, index);
        }
        let Some(open) = self.open.write().remove(&(topic.id, index)) else { return };
        open.leave();
        self.put_aside(&topic.name, topic.id, index);
    }

    /// Keeps the files of a partition that the rebuilt metadata has elsewhere: they may be all that there is
    /// of it.
    fn put_aside(&self, topic: &TopicName, id: TopicId, partition: PartitionIndex) {
        match self.store.put_aside(id, partition) {
            Ok(aside) => warn!(
                %topic, %partition, ?aside,
                "the rebuilt metadata has the partition on other brokers: its files are put aside until you remove them"
            ),
            Err(error) => error!(%topic, %partition, %error, "cannot put the partition aside"),
        }
    }

    fn delete(&self, topic: &TopicImage, index: PartitionIndex) {
        self.get_on();
        let Some(partition) = self.open.write().remove(&(topic.id, index)) else { return };
        partition.leave();
        match self.store.delete_partition(topic.id, index) {
            Ok(()) => info!(topic = %topic.name, partition = %index, "partition deleted"),
            Err(error) => {
                error!(topic = %topic.name, partition = %index, %error, "cannot delete the partition")
            }
        }
    }

    /// To be called once the metadata is complete: opens what was in the way of an older image, and removes
    /// or names the logs of which the metadata knows nothing.
    pub fn settle(&self, image: &MetadataImage) {
        self.complete.store(true, Ordering::Release);
        let directory = self.store.directory_id();
        image.topics.values().for_each(|topic| self.apply_topic(image, topic, directory));
        let partitions = image.partitions_on(self.node_id, directory);
        let known: HashSet<PartitionKey> = partitions.map(|(topic, index, _)| (topic.id, index)).collect();
        let mut strangers = Vec::new();
        for (topic, id, partition) in self.store.partitions() {
            if known.contains(&(id, partition)) {
                continue;
            }
            let state = image.topics.get(&id).and_then(|topic| topic.partition(partition));
            let elsewhere = state.filter(|state| !state.replicas.contains(&self.node_id));
            if elsewhere.is_some_and(PartitionImage::is_carried_on) {
                self.put_aside(&topic, id, partition);
            } else if elsewhere.is_some() {
                // It was moved to others while this broker was away.
                match self.store.delete_partition(id, partition) {
                    Ok(()) => info!(%topic, %partition, "partition deleted, as others have it now"),
                    Err(error) => error!(%topic, %partition, %error, "cannot delete the partition"),
                }
            } else if state.is_some() {
                warn!(%topic, topic_id = %id, %partition, "the metadata has the partition on another disk: its files are left alone");
            } else {
                strangers.push((id, partition));
            }
        }
        self.settled.store(true, Ordering::Release);
        // Those who wait for the partitions look again.
        self.applied.send_replace(image.version);
        self.remove_empty_strangers(&strangers);
    }

    /// Removes those of the logs of which the metadata knows nothing that never had a record: a process may
    /// end between the making of a partition and its deletion, and the next one hears of neither. The others
    /// are kept and told of: a mistake must not cost records.
    fn remove_empty_strangers(&self, strangers: &[PartitionKey]) {
        const NAMED_MAX: usize = 5;
        let logs = strangers.iter().filter_map(|(id, partition)| self.store.partition(*id, *partition));
        let (empty, kept): (Vec<_>, Vec<_>) = logs.partition(|log| never_had_records(log));
        if !empty.is_empty() {
            let keys: Vec<_> = empty.iter().map(|log| (log.topic_id(), log.partition())).collect();
            match self.store.delete_partitions(&keys) {
                Ok(()) => {
                    info!(partitions = keys.len(), "empty partitions deleted that the metadata doesn't have")
                }
                Err(error) => {
                    error!(%error, "cannot delete all empty partitions that the metadata doesn't have")
                }
            }
        }
        if !kept.is_empty() {
            let named = kept.iter().take(NAMED_MAX);
            let examples: Vec<_> = named.map(|log| format!("{}-{}", log.topic(), log.partition())).collect();
            warn!(
                partitions = kept.len(),
                examples = examples.join(", "),
                "there are records of partitions that the metadata doesn't have: their files are left alone"
            );
        }
    }

    /// Takes note that an image is about to be applied.
    pub fn begin_to_apply(&self) {
        *self.applying.lock() = Some(Instant::now());
    }

    fn get_on(&self) {
        if let Some(since) = &mut *self.applying.lock() {
            *since = Instant::now();
        }
    }

    /// How long ago the image that is being applied got on by a partition last; none while there is nothing
    /// to apply.
    pub fn stands_still_for(&self) -> Option<Duration> {
        self.applying.lock().map(|since| since.elapsed())
    }

    /// Whether all that [`Self::settle`] had to open is open.
    pub fn is_settled(&self) -> bool {
        self.settled.load(Ordering::Acquire)
    }

    fn log_config(&self, topic: &TopicImage) -> LogConfig {
        let config = TopicConfig::resolve(&topic.config, &self.defaults());
        let positive =
            |number: i32| u32::try_from(number).expect("the table of topic settings allows no less than 0");
        LogConfig {
            segment_bytes: positive(config.segment_bytes),
            segment_ms: config.segment_ms,
            segment_index_bytes: positive(config.segment_index_bytes),
            index_interval_bytes: positive(config.index_interval_bytes),
            retention_bytes: config.retention_bytes.map(i64::unsigned_abs),
            retention_ms: config.retention_ms,
            max_message_bytes: positive(config.max_message_bytes),
            timestamp_type: match config.log_append_time {
                true => TimestampType::Append,
                false => TimestampType::Create,
            },
            timestamp_before_max_ms: config.timestamp_before_max_ms,
            timestamp_after_max_ms: config.timestamp_after_max_ms,
            compact: config.cleanup_compact,
            delete: config.cleanup_delete,
            compaction: CompactionConfig {
                min_cleanable_dirty_ratio: config.min_cleanable_dirty_ratio,
                min_compaction_lag_ms: config.min_compaction_lag_ms,
                max_compaction_lag_ms: config.max_compaction_lag_ms,
                delete_retention_ms: config.delete_retention_ms,
            },
            ack_durability: match config.ack_durability {
                AckDurability::Synced => LogDurability::Synced,
                AckDurability::Written => LogDurability::Written,
            },
        }
    }
}

/// Whether nothing is lost with this log.
fn never_had_records(log: &PartitionLog) -> bool {
    let (start, end) = (log.log_start_offset(), log.end_offset());
    start == Offset(0) && end == Offset(0) && log.size_bytes() == 0 && log.damage().is_empty()
}
