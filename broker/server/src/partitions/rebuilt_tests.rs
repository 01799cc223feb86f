//! After a rebuild of the metadata quorum from a copy that lacks a move, no broker gives up the only records
//! that there are.

use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use ottla_core::metadata::{
    Command, CreateTopics, MetadataImage, NewPartitionAssignment, NewTopic, PartitionImage, TopicImage,
};
use ottla_log::BatchBuilder;
use ottla_store::Store;
use ottla_types::{BrokerId, DirectoryId, LeaderEpoch, MetadataVersion, Offset, PartitionIndex, TopicId};
use tempfile::TempDir;

use super::Partitions;
use super::test_support::{CLUSTER, after, open, with_live_broker};

const TOPIC: TopicId = TopicId([2; 16]);
const INDEX: PartitionIndex = PartitionIndex(0);
const FIRST: BrokerId = BrokerId(1);
const SECOND: BrokerId = BrokerId(2);

/// A broker's data folder, and how its partitions were opened last.
struct TestBroker {
    id: BrokerId,
    dir: TempDir,
    open: Option<(Arc<Store>, Partitions)>,
}

impl TestBroker {
    fn new(id: BrokerId) -> Self {
        let mut broker = Self { id, dir: tempfile::tempdir().unwrap(), open: None };
        broker.start();
        broker
    }

    fn start(&mut self) {
        self.open = None;
        self.open = Some(open(self.dir.path(), self.id));
    }

    /// Starts again and finds this metadata, all of it.
    fn start_with(&mut self, image: &MetadataImage) {
        self.start();
        self.partitions().apply(None, image);
        self.partitions().settle(image);
    }

    fn partitions(&self) -> &Partitions {
        &self.open.as_ref().unwrap().1
    }

    fn directory(&self) -> DirectoryId {
        self.open.as_ref().unwrap().0.directory_id()
    }

    fn write(&self) {
        let partition = self.partitions().get(TOPIC, INDEX).unwrap();
        let builder = BatchBuilder::new(Offset(0), LeaderEpoch(-1));
        let records: Bytes = builder.record(1_000, None, Some(b"value")).build().into();
        partition.log.append(&records, LeaderEpoch(0), 1_000).unwrap();
        self.open.as_ref().unwrap().0.commit_now().unwrap();
    }

    /// How many records there are in the log that is open; none if it isn't.
    fn records(&self) -> Option<i64> {
        self.partitions().get(TOPIC, INDEX).map(|partition| partition.log.end_offset().0)
    }

    /// Whether a folder with records was put aside.
    fn put_aside(&self) -> bool {
        let has_records = |folder: &Path| {
            let log = folder.join("00000000000000000000.log");
            log.metadata().is_ok_and(|metadata| metadata.len() > 0)
        };
        let mut entries = std::fs::read_dir(self.dir.path()).unwrap().map(|entry| entry.unwrap().path());
        entries.any(|path| path.to_str().unwrap().ends_with("-stray") && has_records(&path))
    }

    fn has_folder(&self) -> bool {
        self.dir.path().join("t-0").exists()
    }
}

/// The metadata of both brokers and of one partition on the first one.
fn on_the_first(brokers: [&TestBroker; 2]) -> MetadataImage {
    let mut image = MetadataImage::new(CLUSTER);
    for (epoch, broker) in (1..).zip(brokers) {
        image = with_live_broker(&image, broker.id, epoch, broker.directory());
    }
    create(&image, "t", TOPIC)
}

/// The metadata with another topic of one partition, on the first broker.
fn create(image: &MetadataImage, name: &str, id: TopicId) -> MetadataImage {
    let topic = NewTopic {
        name: name.to_owned(),
        id,
        partitions: -1,
        replication_factor: -1,
        assignments: vec![NewPartitionAssignment { partition: INDEX, replicas: vec![FIRST] }],
        config: Vec::new(),
    };
    let create = CreateTopics {
        topics: vec![topic],
        validate_only: false,
        default_partitions: 1,
        default_replication_factor: 1,
    };
    after(image, &Command::CreateTopics(create))
}

/// The metadata with another state of the partition: replicas, of which those in sync, the first of them
/// leading.
fn with(
    image: &MetadataImage,
    brokers: [&TestBroker; 2],
    replicas: &[BrokerId],
    isr: &[BrokerId],
) -> MetadataImage {
    let mut image = image.clone();
    let topic = image.topics[&TOPIC].as_ref().clone();
    let directory = |id: &BrokerId| brokers.iter().find(|broker| broker.id == *id).unwrap().directory();
    let before = topic.partitions[0].clone();
    let partition = PartitionImage {
        replicas: replicas.to_vec(),
        directories: replicas.iter().map(directory).collect(),
        isr: isr.to_vec(),
        leader: isr.first().copied(),
        leader_epoch: LeaderEpoch(before.leader_epoch.0 + 1),
        partition_epoch: ottla_types::PartitionEpoch(before.partition_epoch.0 + 1),
        ..before
    };
    image.topics.insert(TOPIC, Arc::new(TopicImage { partitions: vec![partition], ..topic }));
    image.version = MetadataVersion(image.version.0 + 1);
    image
}

fn rebuilt(image: &MetadataImage) -> MetadataImage {
    image.carried_on(MetadataVersion(image.version.0 + 1_000), FIRST)
}

/// The partition moved from the first broker to the second. Returns the metadata before that, and after it.
fn moved() -> (TestBroker, TestBroker, MetadataImage, MetadataImage) {
    let (first, second) = (TestBroker::new(FIRST), TestBroker::new(SECOND));
    let before = on_the_first([&first, &second]);
    first.partitions().apply(None, &before);
    assert_eq!(first.records(), Some(0));
    let under_way = with(&before, [&first, &second], &[SECOND, FIRST], &[SECOND, FIRST]);
    second.partitions().apply(None, &under_way);
    second.write();
    first.partitions().apply(Some(&before), &under_way);
    let after = with(&under_way, [&first, &second], &[SECOND], &[SECOND]);
    for broker in [&first, &second] {
        broker.partitions().apply(Some(&under_way), &after);
    }
    assert!(!first.has_folder() && !first.put_aside(), "others have what it held");
    (first, second, before, after)
}

#[test]
fn a_move_that_the_rebuilt_metadata_lacks_costs_no_records() {
    let (mut first, mut second, before, _) = moved();
    let rebuilt = rebuilt(&before);
    second.start_with(&rebuilt);
    assert_eq!(second.records(), None);
    assert!(second.put_aside(), "they are nowhere else");
    first.start_with(&rebuilt);
    assert_eq!(first.records(), None, "an empty log would lead in their place");
    assert!(!first.has_folder());
    first.start_with(&rebuilt);
    assert!(!first.has_folder());
}

#[test]
fn a_move_that_is_half_done_in_the_rebuilt_metadata_costs_no_records() {
    let (mut first, mut second, before, _) = moved();
    let rebuilt = rebuilt(&with(&before, [&first, &second], &[FIRST, SECOND], &[FIRST]));
    for broker in [&mut first, &mut second] {
        broker.start_with(&rebuilt);
    }
    assert_eq!((first.records(), second.records()), (None, Some(1)));
    // An administrator cancels it.
    let cancelled = with(&rebuilt, [&first, &second], &[FIRST], &[FIRST]);
    second.partitions().apply(Some(&rebuilt), &cancelled);
    assert_eq!(second.records(), None);
    assert!(second.put_aside());
}

#[test]
fn who_lacks_the_records_follows_once_others_have_gone_on() {
    let (mut first, mut second, before, _) = moved();
    let rebuilt = rebuilt(&with(&before, [&first, &second], &[FIRST, SECOND], &[FIRST, SECOND]));
    for broker in [&mut first, &mut second] {
        broker.start_with(&rebuilt);
    }
    assert_eq!((first.records(), second.records()), (None, Some(1)));
    let without = with(&rebuilt, [&first, &second], &[FIRST, SECOND], &[SECOND]);
    first.partitions().apply(Some(&rebuilt), &without);
    assert_eq!(first.records(), Some(0), "it is not in sync: it learns");
}

#[test]
fn moves_since_the_rebuild_and_without_one_leave_nothing_behind() {
    let (first, second, _, after) = moved();
    let there = with(&after, [&first, &second], &[FIRST, SECOND], &[FIRST, SECOND]);
    // Without a rebuild, while the broker was away.
    let mut away = second;
    away.start_with(&with(&there, [&first, &away], &[FIRST], &[FIRST]));
    assert!(!away.has_folder() && !away.put_aside());
    // With one, of a replica that was in sync since.
    let (_, mut second, _, after) = moved();
    let rebuilt = rebuilt(&with(&after, [&first, &second], &[SECOND], &[SECOND]));
    second.start_with(&rebuilt);
    assert_eq!(second.records(), Some(1));
    let gone = with(&rebuilt, [&first, &second], &[FIRST], &[FIRST]);
    second.partitions().apply(Some(&rebuilt), &gone);
    assert!(!second.has_folder() && !second.put_aside());
    // And topics that are created since begin empty.
    let (mut first, second) = (TestBroker::new(FIRST), TestBroker::new(SECOND));
    let image = on_the_first([&first, &second]).carried_on(MetadataVersion(5_000), FIRST);
    let image = create(&image, "new", TopicId([3; 16]));
    first.start_with(&image);
    assert!(first.partitions().get(TopicId([3; 16]), INDEX).is_some());
}
