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
    for bad in ["", "a b", "..", "a_b"] {
        assert_eq!(kind(world.create(topic(bad, 1))), TopicErrorKind::InvalidTopic, "{bad:?}");
    }
    let message = world.create(topic("a_b", 1)).unwrap_err().message;
    assert!(message.contains("a.b") && message.contains("another name"), "{message}");
    let metadata = world.create(topic("__cluster_metadata", 1));
    assert_eq!(kind(metadata), TopicErrorKind::InvalidRequest, "Kafka's error for it");
    let twice = Command::CreateTopics(create(vec![topic("t", 1), topic("t", 1)]));
    let Ok(Reply::TopicsCreated(results)) = world.run(twice) else { panic!("refused") };
    assert!(results.into_iter().all(|result| kind(result) == TopicErrorKind::InvalidRequest));
}

#[test]
fn nobody_takes_the_place_of_an_internal_topic() {
    let mut world = World::with_brokers(1);
    let error = world.create(topic("__consumer.offsets", 1)).unwrap_err();
    assert_eq!(error.kind, TopicErrorKind::InvalidTopic);
    assert!(error.message.contains(OFFSETS_TOPIC), "{error}");
    world.create(topic(OFFSETS_TOPIC, 1)).unwrap();
    world.create(topic("__own", 1)).unwrap();
    assert_eq!(kind(world.create(topic("__transaction.state", 1))), TopicErrorKind::InvalidTopic);
    // One that is there from before keeps none of them away.
    let [id, name] = [topic_id("old"), topic_id("y")];
    let old = Record::TopicCreated {
        id,
        name: ottla_types::TopicName::new("__transaction.state").unwrap(),
        config: std::collections::BTreeMap::new(),
    };
    let partitions = world.image.topic("__own").unwrap().partitions.clone().into_iter().collect();
    let records = [old, Record::PartitionsCreated { topic: id, partitions }];
    world.image.apply(MetadataVersion(world.image.version.0 + 1), &records);
    world.create(NewTopic { id: name, ..topic("__transaction_state", 1) }).unwrap();
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
    let good = NewTopic { config: vec![("retention.ms".into(), Some("5".into()))], ..topic("good", 1) };
    let mut command = create(vec![bad, good]);
    command.validate_only = true;
    let Ok(Reply::TopicsCreated(checked)) = world.run(Command::CreateTopics(command.clone())) else {
        panic!()
    };
    assert!(checked[1].as_ref().unwrap().id.is_zero() && world.image.topics.is_empty());
    command.validate_only = false;
    let Ok(Reply::TopicsCreated(results)) = world.run(Command::CreateTopics(command)) else { panic!() };
    assert_eq!(results[0].as_ref().unwrap_err().kind, TopicErrorKind::InvalidConfig);
    assert!(results[1].is_ok() && world.image.topic("good").unwrap().config["retention.ms"] == "5");
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

/// A command about few topics costs the same among many as among few: none looks at the partitions of all.
#[test]
fn few_topics_are_dealt_with_without_a_look_at_the_others() {
    let mut world = World::with_brokers(3);
    for number in 0..40 {
        world.create(topic(&format!("t.{number}"), 2)).unwrap();
    }
    let few = || ["t.1", "t.2"].map(|name| TopicSelector::Name(name.to_owned()));
    let change = ConfigChange::Replace([("retention.ms".to_owned(), "5".to_owned())].into());
    let changed = TopicConfigChange { name: "t.3".to_owned(), change };
    let grown = NewPartitions { name: "t.4".to_owned(), count: 5, assignments: None };
    let election =
        Election { topic: topic_id("t.5"), partition: PartitionIndex(0), kind: ElectionKind::Preferred };
    let to = world.image.broker(BrokerId(0)).map(|broker| vec![broker.id]);
    let moved = Reassignment { topic: topic_id("t.6"), partition: PartitionIndex(1), replicas: to };
    let applied = ApplyTopic {
        name: "t.7".to_owned(),
        new_id: topic_id("new"),
        config: [].into(),
        assignments: vec![ids(&[0]), ids(&[1]), ids(&[2])],
        version: None,
        expected_id: None,
        validate_only: false,
    };
    let commands = [
        Command::CreateTopics(create(vec![topic("new.1", 3), topic("t_1", 3), topic("new.2", 3)])),
        Command::DeleteTopics(DeleteTopics { topics: few().to_vec() }),
        Command::AlterTopicConfigs(AlterTopicConfigs { topics: vec![changed], validate_only: false }),
        Command::CreatePartitions(CreatePartitions { topics: vec![grown], validate_only: false, seed: 1 }),
        Command::ElectLeaders(ElectLeaders { elections: vec![election] }),
        Command::ReassignPartitions(ReassignPartitions { partitions: vec![moved] }),
        Command::ApplyTopic(applied),
    ];
    for command in commands {
        let before = world.image.clone();
        let walks = walks_during(|| drop(world.run(command.clone()).unwrap()));
        assert_eq!(walks, 0, "{command:?}");
        let changed = world.image.topics_changed_since(&before).count();
        assert!(changed <= 2, "{changed} topics differ after {command:?}");
    }
    assert!(walks_during(|| world.fence(1)) > 0, "what concerns all is counted");
}

#[test]
fn topics_that_changed_are_told_from_those_that_did_not() {
    let mut world = World::with_brokers(1);
    for name in ["kept", "changed", "gone"] {
        world.create(topic(name, 1)).unwrap();
    }
    let before = world.image.clone();
    world.create(topic("new", 1)).unwrap();
    let grown = NewPartitions { name: "changed".to_owned(), count: 2, assignments: None };
    let grow = CreatePartitions { topics: vec![grown], validate_only: false, seed: 1 };
    world.run(Command::CreatePartitions(grow)).unwrap();
    let gone = vec![TopicSelector::Name("gone".to_owned())];
    world.run(Command::DeleteTopics(DeleteTopics { topics: gone })).unwrap();
    let size = |topic: Option<&std::sync::Arc<TopicImage>>| {
        topic.map(|topic| (topic.name.to_string(), topic.partitions.len()))
    };
    let mut told: Vec<_> =
        world.image.topics_changed_since(&before).map(|(old, new)| (size(old), size(new))).collect();
    told.sort();
    let named = |name: &str, partitions: usize| Some((name.to_owned(), partitions));
    let expected =
        [(None, named("new", 1)), (named("changed", 1), named("changed", 2)), (named("gone", 1), None)];
    assert_eq!(told, expected);
}
