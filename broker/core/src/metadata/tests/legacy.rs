//! A metadata log from before there was replication still says what it said.

use super::*;

/// As version 0.1 wrote it: broker 0 with one partition, fenced, so that the partition has no leader and an
/// ISR of it.
const LOG: &str = r#"[
    {"BrokerRegistered": {"id": 0, "epoch": 1, "incarnation": 7, "directory_id": "AAEBAQEBAQEBAQEBAQEBAQ",
        "listeners": [], "control_address": "broker-0:9095", "rack": null, "fenced": true,
        "in_controlled_shutdown": false}},
    {"BrokerChanged": {"id": 0, "epoch": 1, "fenced": false, "in_controlled_shutdown": false}},
    {"TopicCreated": {"id": "dO7u7u7u7u7u7u7u7u7u7g", "name": "t", "config": {}}},
    {"PartitionsCreated": {"topic": "dO7u7u7u7u7u7u7u7u7u7g", "partitions": [{"replicas": [0],
        "directories": ["AAEBAQEBAQEBAQEBAQEBAQ"], "isr": [0], "leader": 0, "leader_epoch": 0,
        "partition_epoch": 0}]}},
    {"BrokerChanged": {"id": 0, "epoch": 1, "fenced": true, "in_controlled_shutdown": true}},
    {"LeadersChanged": [{"topic": "dO7u7u7u7u7u7u7u7u7u7g", "partition": 0, "leader": null, "isr": [0],
        "leader_epoch": 1, "partition_epoch": 1}]}
]"#;

#[test]
fn what_was_written_before_is_read_and_goes_on() {
    let records: Vec<Record> = serde_json::from_str(LOG).unwrap();
    let mut world = World::new();
    world.image.apply(MetadataVersion(1), &records);
    world.image.check().unwrap();
    world.show("t", "leader - epoch 1 isr 0");
    world.bring_up(0, 1);
    world.show("t", "leader 0 epoch 2 isr 0");
    let json = serde_json::to_string(&world.image.records()).unwrap();
    assert!(!json.contains("elr") && !json.contains("adding"), "what is empty isn't written: {json}");
}

#[test]
fn a_registration_of_an_older_broker_is_read() {
    let json = r#"{"RegisterBroker": {"id": 0, "incarnation": 7, "directory_id": "AAEBAQEBAQEBAQEBAQEBAQ",
        "listeners": [], "control_address": "broker-0:9095", "rack": null}}"#;
    let mut world = World::new();
    world.run(serde_json::from_str(json).unwrap()).unwrap();
    assert_eq!(world.image.defaults, ClusterDefaults::default());
}
