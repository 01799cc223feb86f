//! A change of few topics costs as much among many as among few; what the metadata doesn't know is kept only
//! if there are records in it.

use bytes::Bytes;
use ottla_core::metadata::{
    AlterBrokerConfigs, AlterTopicConfigs, BrokerConfigChange, Command, ConfigChange, ConfigOperation,
    CreateTopics, DeleteTopics, IncarnationId, MetadataImage, NewTopic, RegisterBroker, TopicConfigChange,
    TopicSelector, UnfenceBroker,
};
use ottla_log::BatchBuilder;
use ottla_types::{BrokerEpoch, BrokerId, LeaderEpoch, Offset, PartitionIndex, TopicId};

use super::test_support::{CLUSTER, after, open, with_live_broker};

const ME: BrokerId = BrokerId(1);

fn create(image: &MetadataImage, numbers: std::ops::Range<u8>) -> MetadataImage {
    let topic = |number: u8| NewTopic {
        name: format!("topic-{number}"),
        id: TopicId([number; 16]),
        partitions: 2,
        replication_factor: 1,
        assignments: Vec::new(),
        config: Vec::new(),
    };
    let (default_partitions, default_replication_factor) = (1, 1);
    let topics = numbers.map(topic).collect();
    let create =
        CreateTopics { topics, validate_only: false, default_partitions, default_replication_factor };
    after(image, &Command::CreateTopics(create))
}

#[test]
fn only_topics_that_changed_are_looked_at() {
    let dir = tempfile::tempdir().unwrap();
    let (store, partitions) = open(dir.path(), ME);
    let live = with_live_broker(&MetadataImage::new(CLUSTER), ME, 1, store.directory_id());
    let many = create(&live, 1..60);
    assert_eq!(partitions.apply(Some(&live), &many), 59);
    let more = create(&many, 60..62);
    assert_eq!(partitions.apply(Some(&many), &more), 2);
    assert_eq!(partitions.count(), 2 * 61);
    let change = ConfigChange::Replace([("retention.ms".to_owned(), "5".to_owned())].into());
    let topics = vec![TopicConfigChange { name: "topic-7".to_owned(), change }];
    let alter = AlterTopicConfigs { topics, validate_only: false };
    let configured = after(&more, &Command::AlterTopicConfigs(alter));
    assert_eq!(partitions.apply(Some(&more), &configured), 1);
    let gone = ["topic-3", "topic-60"].map(|name| TopicSelector::Name(name.to_owned()));
    let fewer = after(&configured, &Command::DeleteTopics(DeleteTopics { topics: gone.to_vec() }));
    assert_eq!(partitions.apply(Some(&configured), &fewer), 2);
    assert_eq!(partitions.count(), 2 * 59);
    assert_eq!(partitions.apply(Some(&fewer), &fewer), 0);
    // What topics have by default concerns all of them.
    let operations = vec![("log.retention.ms".to_owned(), ConfigOperation::Set("9".to_owned()))];
    let change = BrokerConfigChange { id: Some(ME), change: ConfigChange::Incremental(operations) };
    let alter = AlterBrokerConfigs { brokers: vec![change], validate_only: false };
    let defaults = after(&fewer, &Command::AlterBrokerConfigs(alter));
    assert_eq!(partitions.apply(Some(&fewer), &defaults), 59);
    let retention = |number: u8| {
        let partition = partitions.get(TopicId([number; 16]), PartitionIndex(0)).unwrap();
        partition.log.config().retention_ms
    };
    assert_eq!((retention(7), retention(8)), (Some(5), Some(9)), "the topic's own goes first");
    assert_eq!(partitions.apply(Some(&defaults), &defaults), 0);
    // Who may be in sync depends on the brokers, so then all are looked at.
    let again = after(&fewer, &Command::UnfenceBroker(UnfenceBroker { id: ME, epoch: BrokerEpoch(1) }));
    assert_eq!(partitions.apply(None, &again), 59);
    partitions.get(TopicId([7; 16]), PartitionIndex(1)).expect("a partition that stays is open");
}

#[test]
fn no_folder_is_made_by_metadata_from_before_this_process() {
    let dir = tempfile::tempdir().unwrap();
    let (store, partitions) = open(dir.path(), ME);
    let directory = store.directory_id();
    let process_before = RegisterBroker::new(ME, IncarnationId(77), directory);
    let old = after(&MetadataImage::new(CLUSTER), &Command::RegisterBroker(process_before));
    let unfence = UnfenceBroker { id: ME, epoch: BrokerEpoch(1) };
    let old = create(&after(&old, &Command::UnfenceBroker(unfence)), 1..5);
    partitions.apply(None, &old);
    assert_eq!(store.partitions().len(), 0, "later metadata may delete them");
    let gone = ["topic-1", "topic-2", "topic-3"].map(|name| TopicSelector::Name(name.to_owned()));
    let fewer = after(&old, &Command::DeleteTopics(DeleteTopics { topics: gone.to_vec() }));
    partitions.apply(Some(&old), &fewer);
    partitions.apply(Some(&fewer), &with_live_broker(&fewer, ME, 2, directory));
    assert_eq!(store.partitions().len(), 2, "those of the one that is left");
}

#[test]
fn empty_folders_that_the_metadata_does_not_know_are_removed() {
    let dir = tempfile::tempdir().unwrap();
    let folders = || {
        let names = std::fs::read_dir(dir.path()).unwrap().map(|entry| entry.unwrap().file_name());
        let mut names: Vec<String> = names.map(|name| name.into_string().unwrap()).collect();
        names.retain(|name| name.starts_with("topic-"));
        names.sort();
        names
    };
    // The process makes topics' partitions, and ends before it comes to their deletion.
    let live = {
        let (store, partitions) = open(dir.path(), ME);
        let live = with_live_broker(&MetadataImage::new(CLUSTER), ME, 1, store.directory_id());
        partitions.apply(None, &create(&live, 1..5));
        let with_records = [(1, 0), (2, 1), (3, 0)];
        for (number, index) in with_records {
            let partition = partitions.get(TopicId([number; 16]), PartitionIndex(index)).unwrap();
            let builder = BatchBuilder::new(Offset(0), LeaderEpoch(-1));
            let records: Bytes = builder.record(1_000, None, Some(b"value")).build().into();
            partition.log.append(&records, LeaderEpoch(0), 1_000).unwrap();
            if number == 3 {
                // Its records were deleted: the log isn't one that never had any.
                store.commit_now().unwrap();
                partition.log.advance_log_start(Offset(1));
            }
        }
        store.commit_now().unwrap();
        live
    };
    assert_eq!(folders().len(), 8);
    let (store, partitions) = open(dir.path(), ME);
    let image = create(&live, 4..6);
    partitions.apply(None, &image);
    assert_eq!(folders().len(), 10, "until the metadata is complete they may be another topic's");
    partitions.settle(&image);
    let kept = ["topic-1-0", "topic-2-1", "topic-3-0", "topic-4-0", "topic-4-1", "topic-5-0", "topic-5-1"];
    assert_eq!(folders(), kept);
    assert_eq!(store.partitions().len(), kept.len());
}
