//! Configurations change as a whole or key by key.

use std::collections::BTreeMap;

use super::*;

fn alter(world: &mut World, name: &str, change: ConfigChange) -> TopicResult<()> {
    let topics = vec![TopicConfigChange { name: name.to_owned(), change }];
    match world.run(Command::AlterTopicConfigs(AlterTopicConfigs { topics, validate_only: false })) {
        Ok(Reply::TopicConfigsAltered(mut results)) => results.remove(0),
        other => panic!("{other:?}"),
    }
}

fn incremental(key: &str, operation: ConfigOperation) -> ConfigChange {
    ConfigChange::Incremental(vec![(key.to_owned(), operation)])
}

fn config(world: &World) -> Vec<(&str, &str)> {
    let config = &world.image.topic("t").unwrap().config;
    config.iter().map(|(key, value)| (key.as_str(), value.as_str())).collect()
}

#[test]
fn keys_are_set_deleted_and_lists_changed() {
    let mut world = World::with_brokers(1);
    world.create(topic("t", 1)).unwrap();
    alter(&mut world, "t", incremental("retention.ms", ConfigOperation::Set("5".into()))).unwrap();
    alter(&mut world, "t", incremental("cleanup.policy", ConfigOperation::Append("compact".into()))).unwrap();
    assert_eq!(config(&world), [("cleanup.policy", "delete,compact"), ("retention.ms", "5")]);
    alter(&mut world, "t", incremental("cleanup.policy", ConfigOperation::Append("compact".into()))).unwrap();
    assert!(world.log.last().unwrap().is_empty(), "it is there already");
    alter(&mut world, "t", incremental("cleanup.policy", ConfigOperation::Subtract("delete".into())))
        .unwrap();
    alter(&mut world, "t", incremental("retention.ms", ConfigOperation::Delete)).unwrap();
    assert_eq!(config(&world), [("cleanup.policy", "compact")]);
    alter(&mut world, "t", ConfigChange::Replace(BTreeMap::new())).unwrap();
    assert_eq!(config(&world), []);
}

#[test]
fn bad_changes_are_refused_as_a_whole() {
    let mut world = World::with_brokers(1);
    world.create(topic("t", 1)).unwrap();
    let two = ConfigChange::Incremental(vec![
        ("retention.ms".into(), ConfigOperation::Set("5".into())),
        ("segment.bytes".into(), ConfigOperation::Set("5".into())),
    ]);
    let bad = [
        two,
        incremental("no.such", ConfigOperation::Delete),
        incremental("retention.ms", ConfigOperation::Append("5".into())),
        incremental("cleanup.policy", ConfigOperation::Subtract("delete".into())),
        ConfigChange::Replace(BTreeMap::from([("retention.ms".into(), "never".into())])),
    ];
    for change in bad {
        assert_eq!(alter(&mut world, "t", change).unwrap_err().kind, TopicErrorKind::InvalidConfig);
        assert_eq!(config(&world), []);
    }
    let unknown = alter(&mut world, "u", ConfigChange::Replace(BTreeMap::new())).unwrap_err();
    assert_eq!(unknown.kind, TopicErrorKind::UnknownTopicOrPartition);
}
