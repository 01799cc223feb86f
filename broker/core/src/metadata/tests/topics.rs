//! Topics are created and deleted with Kafka's errors.

use super::*;

fn kind(result: TopicResult<CreatedTopic>) -> TopicErrorKind {
    result.unwrap_err().kind
}

#[test]
fn partitions_are_led_on_all_brokers() {
    let mut world = World::with_brokers(3);
    let created = world.create(topic("orders", 6)).unwrap();
    assert_eq!((created.partitions, created.replication_factor, created.id), (6, 1, topic_id("orders")));
    let mut leaders = world.leaders("orders");
    leaders.sort_unstable();
    assert_eq!(leaders, [0, 0, 1, 1, 2, 2]);
    for name in ["x", "y", "z"] {
        world.create(topic(name, 1)).unwrap();
    }
    let mut single: Vec<i32> = ["x", "y", "z"].iter().flat_map(|name| world.leaders(name)).collect();
    single.sort_unstable();
    assert_eq!(single, [0, 1, 2], "small topics don't pile up");
    assert_eq!(world.create(topic("default", -1)).unwrap().partitions, 2);
}

#[test]
fn names_are_checked() {
    let mut world = World::with_brokers(1);
    world.create(topic("a.b", 1)).unwrap();
    let same = NewTopic { id: topic_id("another"), ..topic("a.b", 1) };
    assert_eq!(kind(world.create(same)), TopicErrorKind::TopicAlreadyExists);
    for bad in ["", "a b", "..", "a_b", "__cluster_metadata"] {
        assert_eq!(kind(world.create(topic(bad, 1))), TopicErrorKind::InvalidTopic, "{bad:?}");
    }
    let message = world.create(topic("a_b", 1)).unwrap_err().message;
    assert!(message.contains("a.b") && message.contains("another name"), "{message}");
    let twice = Command::CreateTopics(create(vec![topic("t", 1), topic("t", 1)]));
    let Ok(Reply::TopicsCreated(results)) = world.run(twice) else { panic!("refused") };
    assert!(results.into_iter().all(|result| kind(result) == TopicErrorKind::InvalidRequest));
}

#[test]
fn sizes_are_checked() {
    let mut world = World::with_brokers(2);
    for partitions in [0, -2] {
        assert_eq!(kind(world.create(topic("t", partitions))), TopicErrorKind::InvalidPartitions);
    }
    for replication_factor in [0, -2] {
        let wrong = NewTopic { replication_factor, ..topic("t", 1) };
        assert_eq!(kind(world.create(wrong)), TopicErrorKind::InvalidReplicationFactor);
    }
    for (factor, message) in [(3, "there are 2"), (8, "use 7 at most")] {
        let many = world.create(NewTopic { replication_factor: factor, ..topic("t", 1) }).unwrap_err();
        assert_eq!(many.kind, TopicErrorKind::InvalidReplicationFactor);
        assert!(many.message.contains(message), "{}", many.message);
    }
    let many = i32::try_from(PARTITIONS_PER_COMMAND_MAX).unwrap() + 1;
    assert_eq!(kind(world.create(topic("t", many))), TopicErrorKind::PolicyViolation);
    world.fence(0);
    world.fence(1);
    assert_eq!(kind(world.create(topic("t", 1))), TopicErrorKind::InvalidReplicationFactor, "nobody is live");
}

#[test]
fn assignments_by_hand_are_checked() {
    let mut world = World::with_brokers(2);
    world.run(register(2, 1)).unwrap();
    world.create(by_hand("good", &[&[1], &[0], &[1]])).unwrap();
    assert_eq!(world.leaders("good"), [1, 0, 1]);
    let cases: &[(&[&[i32]], TopicErrorKind)] = &[
        (&[&[]], TopicErrorKind::InvalidReplicaAssignment),
        (&[&[7]], TopicErrorKind::InvalidReplicaAssignment),
        (&[&[2]], TopicErrorKind::InvalidReplicaAssignment),
        (&[&[0, 0]], TopicErrorKind::InvalidReplicaAssignment),
        (&[&[0], &[0, 1]], TopicErrorKind::InvalidReplicaAssignment),
    ];
    for (replicas, expected) in cases {
        assert_eq!(kind(world.create(by_hand("t", replicas))), *expected, "{replicas:?}");
    }
    let both = NewTopic { partitions: 1, ..by_hand("t", &[&[0]]) };
    assert_eq!(kind(world.create(both)), TopicErrorKind::InvalidRequest);
    let mut gap = by_hand("t", &[&[0], &[1]]);
    gap.assignments[1].partition = PartitionIndex(2);
    assert_eq!(kind(world.create(gap)), TopicErrorKind::InvalidReplicaAssignment);
}

#[test]
fn one_bad_topic_does_not_stop_the_others_and_checking_changes_nothing() {
    let mut world = World::with_brokers(1);
    let bad = NewTopic { config: vec![("retention.ms".into(), Some("x".into()))], ..topic("bad", 1) };
    let good = NewTopic { config: vec![("retention.ms".into(), None)], ..topic("good", 1) };
    let mut command = create(vec![bad, good]);
    command.validate_only = true;
    let Ok(Reply::TopicsCreated(checked)) = world.run(Command::CreateTopics(command.clone())) else {
        panic!()
    };
    assert!(checked[1].as_ref().unwrap().id.is_zero() && world.image.topics.is_empty());
    command.validate_only = false;
    let Ok(Reply::TopicsCreated(results)) = world.run(Command::CreateTopics(command)) else { panic!() };
    assert_eq!(results[0].as_ref().unwrap_err().kind, TopicErrorKind::InvalidConfig);
    assert!(results[1].is_ok() && world.image.topic("good").unwrap().config.is_empty());
}

#[test]
fn a_creation_that_is_sent_again_is_known_by_its_id() {
    let mut world = World::with_brokers(1);
    let first = world.create(topic("t", 3)).unwrap();
    assert_eq!(world.create(topic("t", 3)), Ok(first));
    assert!(world.log.last().unwrap().is_empty());
    let another = NewTopic { id: topic_id("other"), ..topic("t", 3) };
    assert_eq!(kind(world.create(another)), TopicErrorKind::TopicAlreadyExists);
}

#[test]
fn topics_are_deleted_by_name_and_by_id_and_come_back_as_others() {
    let mut world = World::with_brokers(1);
    world.create(topic("a", 1)).unwrap();
    world.create(topic("b", 1)).unwrap();
    let selectors = vec![
        TopicSelector::Name("a".into()),
        TopicSelector::Id(topic_id("b")),
        TopicSelector::Name("a".into()),
        TopicSelector::Id(topic_id("b")),
    ];
    let deleted = world.run(Command::DeleteTopics(DeleteTopics { topics: selectors }));
    let Ok(Reply::TopicsDeleted(results)) = deleted else { panic!("{deleted:?}") };
    assert_eq!(results[1].as_ref().unwrap().name, "b");
    let kinds: Vec<_> = results[2..].iter().map(|result| result.as_ref().unwrap_err().kind).collect();
    assert_eq!(kinds, [TopicErrorKind::UnknownTopicOrPartition, TopicErrorKind::UnknownTopicId]);
    assert!(world.image.topics.is_empty() && world.image.partition_count == 0);
    let again = NewTopic { id: topic_id("a-second"), ..topic("a", 1) };
    assert_eq!(world.create(again).unwrap().id, topic_id("a-second"));
}
