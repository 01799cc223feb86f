//! A change of few topics costs as much among many as among few.

use ottla_core::metadata::{
    AlterBrokerConfigs, AlterTopicConfigs, BrokerConfigChange, Command, ConfigChange, ConfigOperation,
    CreateTopics, DeleteTopics, MetadataImage, NewTopic, TopicConfigChange, TopicSelector, UnfenceBroker,
};
use ottla_types::{BrokerEpoch, BrokerId, TopicId};

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
        let partition = partitions.get(TopicId([number; 16]), ottla_types::PartitionIndex(0)).unwrap();
        partition.log.config().retention_ms
    };
    assert_eq!((retention(7), retention(8)), (Some(5), Some(9)), "the topic's own goes first");
    assert_eq!(partitions.apply(Some(&defaults), &defaults), 0);
    // Who may be in sync depends on the brokers, so then all are looked at.
    let again = after(&fewer, &Command::UnfenceBroker(UnfenceBroker { id: ME, epoch: BrokerEpoch(1) }));
    assert_eq!(partitions.apply(None, &again), 59);
    partitions.get(TopicId([7; 16]), ottla_types::PartitionIndex(1)).expect("a partition that stays is open");
}
