//! Partitions are added, assigned against a version, and applied as a manifest says.

use std::collections::BTreeMap;

use super::*;

fn grow(world: &mut World, name: &str, count: i32, assignments: Option<&[&[i32]]>) -> TopicResult<()> {
    let assignments = assignments.map(|list| list.iter().map(|replicas| ids(replicas)).collect());
    let topics = vec![NewPartitions { name: name.to_owned(), count, assignments }];
    let command = CreatePartitions { topics, validate_only: false, seed: 3 };
    match world.run(Command::CreatePartitions(command)) {
        Ok(Reply::PartitionsCreated(mut results)) => results.remove(0),
        other => panic!("{other:?}"),
    }
}

#[test]
fn topics_grow_where_they_are_least() {
    let mut world = World::with_brokers(3);
    world.create(by_hand("t", &[&[0], &[1]])).unwrap();
    grow(&mut world, "t", 4, None).unwrap();
    let mut leaders = world.leaders("t");
    assert_eq!(leaders[..2], [0, 1], "what exists stays");
    leaders.sort_unstable();
    assert_eq!(leaders[2..].iter().filter(|leader| **leader == 2).count() + leaders[..2].len(), 3);
    grow(&mut world, "t", 5, Some(&[&[2]])).unwrap();
    assert_eq!(world.leaders("t")[4], 2);
}

#[test]
fn growth_is_checked() {
    let mut world = World::with_brokers(1);
    world.create(topic("t", 3)).unwrap();
    let kind = |result: TopicResult<()>| result.unwrap_err().kind;
    assert_eq!(kind(grow(&mut world, "t", 3, None)), TopicErrorKind::InvalidPartitions);
    assert_eq!(kind(grow(&mut world, "t", 2, None)), TopicErrorKind::InvalidPartitions);
    assert_eq!(kind(grow(&mut world, "t", -1, None)), TopicErrorKind::InvalidPartitions);
    assert_eq!(kind(grow(&mut world, "u", 3, None)), TopicErrorKind::UnknownTopicOrPartition);
    let two = Some([&[0][..], &[0]]);
    let two = two.as_ref().map(|list| &list[..]);
    assert_eq!(kind(grow(&mut world, "t", 4, two)), TopicErrorKind::InvalidReplicaAssignment);
    assert_eq!(kind(grow(&mut world, "t", i32::MAX, None)), TopicErrorKind::PolicyViolation);
}

fn assignment(topic: &str, partition: i32, replicas: &[i32]) -> ReplicaAssignment {
    ReplicaAssignment {
        topic: topic.to_owned(),
        partition: PartitionIndex(partition),
        replicas: ids(replicas),
    }
}

#[test]
fn assignments_hold_only_for_the_version_they_were_computed_from() {
    let mut world = World::with_brokers(2);
    world.create(by_hand("t", &[&[0]])).unwrap();
    let submit = |version, list: &[ReplicaAssignment]| {
        Command::SubmitAssignments(SubmitAssignments { version, partitions: list.to_vec() })
    };
    let seen = world.image.version;
    let added = [assignment("t", 0, &[0]), assignment("t", 1, &[1])];
    assert_eq!(world.run(submit(seen, &added)), Ok(Reply::AssignmentsAccepted));
    assert_eq!(world.leaders("t"), [0, 1]);
    let again = world.run(submit(seen, &added));
    assert!(
        matches!(again, Err(Rejection::StaleMetadataVersion { given, .. }) if given == seen),
        "{again:?}"
    );

    let now = world.image.version;
    assert!(world.run(submit(now, &[assignment("t", 4, &[1])])).is_err(), "a gap");
    assert!(world.run(submit(now, &[assignment("u", 0, &[1])])).is_err(), "no topic");
    let twice = [assignment("t", 2, &[1]), assignment("t", 2, &[0])];
    assert!(world.run(submit(now, &twice)).is_err(), "the same twice");
    assert_eq!(world.run(submit(now, &added)), Ok(Reply::AssignmentsAccepted), "nothing changed since");
}

#[test]
fn internal_topics_keep_their_number_of_partitions() {
    let mut world = World::with_brokers(1);
    world.create(by_hand(OFFSETS_TOPIC, &[&[0], &[0]])).unwrap();
    let error = grow(&mut world, OFFSETS_TOPIC, 3, None).unwrap_err();
    assert_eq!(error.kind, TopicErrorKind::InvalidPartitions);
    assert!(error.message.contains("keeps its 2 partitions"), "{error}");
    let applied = world.run(Command::ApplyTopic(apply(OFFSETS_TOPIC, &[&[0], &[0], &[0]])));
    assert!(matches!(applied, Err(Rejection::Topic(_))), "{applied:?}");
    world.run(Command::ApplyTopic(apply(OFFSETS_TOPIC, &[&[0], &[0]]))).unwrap();
    assert_eq!(world.leaders(OFFSETS_TOPIC), [0, 0]);
}

fn apply(name: &str, replicas: &[&[i32]]) -> ApplyTopic {
    ApplyTopic {
        name: name.to_owned(),
        new_id: topic_id(name),
        config: BTreeMap::new(),
        assignments: replicas.iter().map(|replicas| ids(replicas)).collect(),
        version: None,
        expected_id: None,
        validate_only: false,
    }
}

#[test]
fn applying_creates_changes_and_then_does_nothing() {
    let mut world = World::with_brokers(2);
    let id = topic_id("t");
    let applied =
        |world: &mut World, command: &ApplyTopic| match world.run(Command::ApplyTopic(command.clone())) {
            Ok(Reply::TopicApplied(applied)) => (applied.id, applied.changed),
            other => panic!("{other:?}"),
        };
    let check = ApplyTopic { validate_only: true, ..apply("t", &[&[0]]) };
    assert_eq!(applied(&mut world, &check), (TopicId::ZERO, true));
    assert_eq!(applied(&mut world, &apply("t", &[&[0]])), (id, true));
    assert_eq!(applied(&mut world, &apply("t", &[&[0]])), (id, false));
    let config = BTreeMap::from([("retention.ms".to_owned(), "1".to_owned())]);
    let more = ApplyTopic { config, ..apply("t", &[&[0], &[1]]) };
    assert_eq!(applied(&mut world, &more), (id, true));
    assert_eq!((world.leaders("t"), world.image.topic("t").unwrap().config.len()), (vec![0, 1], 1));
    assert_eq!(applied(&mut world, &apply("t", &[&[0], &[1]])), (id, true));
    assert!(world.image.topic("t").unwrap().config.is_empty(), "what isn't asked for is unset");
}

#[test]
fn applying_is_all_or_nothing() {
    let mut world = World::with_brokers(2);
    world.create(by_hand("t", &[&[0], &[1]])).unwrap();
    let config = BTreeMap::from([("segment.bytes".to_owned(), "few".to_owned())]);
    let bad = [
        ApplyTopic { config, ..apply("t", &[&[0], &[1], &[0]]) },
        ApplyTopic { expected_id: Some(topic_id("u")), ..apply("t", &[&[0], &[1]]) },
        ApplyTopic { version: Some(MetadataVersion(1)), ..apply("t", &[&[0], &[1]]) },
        apply("t", &[&[0]]),
        apply("t", &[&[1], &[1, 0]]),
        apply("t", &[&[0], &[1], &[9]]),
        apply("new", &[]),
    ];
    let before = world.image.topics.clone();
    for command in bad {
        world.run(Command::ApplyTopic(command.clone())).unwrap_err();
        assert!(world.image.topics == before, "{command:?}");
    }
}
