//! The table is sound, values are checked, and the strongest source wins.

use std::collections::BTreeMap;

use super::*;

fn settings(list: &[(&str, &str)]) -> BTreeMap<String, String> {
    list.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
}

fn reason(name: &str, value: &str) -> String {
    validate(name, value).unwrap_err().reason
}

#[test]
fn every_default_is_valid_and_names_are_in_order() {
    for definition in TOPIC_CONFIGS {
        assert_eq!(validate(definition.name, definition.default), Ok(()), "{}", definition.name);
        assert!(definition.doc.ends_with('.'), "{}", definition.name);
    }
    assert!(TOPIC_CONFIGS.is_sorted_by(|a, b| a.name < b.name));
}

#[test]
fn bad_values_are_refused_with_what_is_allowed() {
    assert_eq!(reason("retention.ms", "-2"), "use at least -1");
    assert_eq!(reason("retention.ms", "soon"), "use a whole number of 64 bits");
    assert_eq!(reason("segment.bytes", "99999999999"), "use a whole number of 32 bits");
    assert_eq!(reason("cleanup.policy", "delete,shred"), "use one of delete, compact");
    assert_eq!(reason("cleanup.policy", " "), "name at least one");
    assert_eq!(reason("preallocate", "yes"), "use true or false");
    assert_eq!(reason("min.cleanable.dirty.ratio", "1.5"), "use 0 to 1");
    assert_eq!(reason("ack.durability", "maybe"), "use one of synced, written");
    assert_eq!(reason("retention.days", "1"), "topics have no configuration of this name");
    let lags = settings(&[("min.compaction.lag.ms", "10"), ("max.compaction.lag.ms", "5")]);
    assert_eq!(validate_all(&lags).unwrap_err().name, "min.compaction.lag.ms");
    assert_eq!(validate_all(&settings(&[("cleanup.policy", "compact, delete")])), Ok(()));
}

#[test]
fn the_topic_wins_over_the_broker_and_the_broker_over_the_table() {
    let broker =
        settings(&[("log.retention.hours", "2"), ("log.segment.bytes", "4096"), ("num.partitions", "3")]);
    let defaults = BrokerDefaults::from_settings(|name| broker.get(name).cloned()).unwrap();
    let topic = settings(&[("segment.bytes", "8192"), ("cleanup.policy", "compact,delete")]);
    let config = TopicConfig::resolve(&topic, &defaults);
    assert_eq!(config.retention_ms, Some(7_200_000));
    assert_eq!(config.segment_bytes, 8192);
    assert!(config.cleanup_compact && config.cleanup_delete);
    assert_eq!(config.retention_bytes, None);
    assert_eq!(config.ack_durability, AckDurability::Synced);
    let described = describe(&topic, &defaults);
    let source = |name: &str| described.iter().find(|value| value.definition.name == name).unwrap().source;
    assert_eq!(source("segment.bytes"), ConfigSource::Topic);
    assert_eq!(source("retention.ms"), ConfigSource::Broker("log.retention.hours"));
    assert_eq!(source("segment.ms"), ConfigSource::Default);
}

#[test]
fn the_finer_synonym_wins_and_bad_ones_name_the_setting() {
    let both = settings(&[("log.retention.hours", "1"), ("log.retention.ms", "5")]);
    let defaults = BrokerDefaults::from_settings(|name| both.get(name).cloned()).unwrap();
    assert_eq!(defaults.get("retention.ms"), Some(("log.retention.ms", "5")));
    let forever = settings(&[("log.retention.hours", "-1")]);
    let defaults = BrokerDefaults::from_settings(|name| forever.get(name).cloned()).unwrap();
    assert_eq!(TopicConfig::resolve(&BTreeMap::new(), &defaults).retention_ms, None);
    let bad = settings(&[("log.roll.hours", "0")]);
    let error = BrokerDefaults::from_settings(|name| bad.get(name).cloned()).unwrap_err();
    assert_eq!((error.name.as_str(), error.reason.as_str()), ("log.roll.hours", "use at least 1"));
}

#[test]
fn values_of_a_newer_version_count_as_unset() {
    let odd = settings(&[("segment.bytes", "huge"), ("ack.durability", "quorum")]);
    let config = TopicConfig::resolve(&odd, &BrokerDefaults::default());
    assert_eq!(config, TopicConfig::resolve(&BTreeMap::new(), &BrokerDefaults::default()));
}
