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
        if definition.has_default() {
            assert_eq!(validate(definition.name, definition.default), Ok(()), "{}", definition.name);
        }
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
    assert_eq!(reason("remote.storage.enable", "true"), "there is no tiered storage here");
    assert_eq!(
        reason("leader.replication.throttled.replicas", "*,0:1"),
        "use * alone, or pairs like 0:1, partition and broker"
    );
    assert_eq!(reason("compression.lz4.level", "18"), "use 1 to 17");
    assert_eq!(validate("cleanup.policy", ""), Ok(()));
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
fn the_settings_of_compaction_are_kafkas() {
    let compaction = |topic: &[(&str, &str)], broker: &[(&str, &str)]| {
        let broker = settings(broker);
        let defaults = BrokerDefaults::from_settings(|name| broker.get(name).cloned()).unwrap();
        let config = TopicConfig::resolve(&settings(topic), &defaults);
        let lags = (config.min_compaction_lag_ms, config.max_compaction_lag_ms);
        (config.min_cleanable_dirty_ratio, lags, config.delete_retention_ms)
    };
    assert_eq!(compaction(&[], &[]), (0.5, (0, i64::MAX), 86_400_000));
    let topic = [
        ("min.cleanable.dirty.ratio", " 0.25 "),
        ("min.compaction.lag.ms", "3"),
        ("max.compaction.lag.ms", "4"),
        ("delete.retention.ms", "5"),
    ];
    let broker = [
        ("log.cleaner.min.cleanable.ratio", "1"),
        ("log.cleaner.min.compaction.lag.ms", "6"),
        ("log.cleaner.max.compaction.lag.ms", "7"),
        ("log.cleaner.delete.retention.ms", "8"),
    ];
    assert_eq!(compaction(&topic, &broker), (0.25, (3, 4), 5));
    assert_eq!(compaction(&[], &broker), (1.0, (6, 7), 8));
    let wrong = [("min.cleanable.dirty.ratio", "1.5"), ("delete.retention.ms", "-1")];
    assert_eq!(compaction(&wrong, &[]), (0.5, (0, i64::MAX), 86_400_000), "from a newer version's metadata");
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
fn what_is_set_while_brokers_run_goes_before_their_files() {
    let file =
        settings(&[("log.retention.hours", "1"), ("log.segment.bytes", "4096"), ("log.roll.hours", "2")]);
    let defaults = BrokerDefaults::from_settings(|name| file.get(name).cloned()).unwrap();
    let of_all =
        settings(&[("log.retention.ms", " 7 "), ("log.roll.ms", "70"), ("log.segment.bytes", "broken")]);
    let own = settings(&[("log.retention.ms", "5")]);
    let dynamic = defaults.with_dynamic(Some(&own), Some(&of_all));
    assert_eq!(dynamic.get("retention.ms"), Some(("log.retention.ms", "5")));
    let config = TopicConfig::resolve(&BTreeMap::new(), &dynamic);
    assert_eq!((config.retention_ms, config.segment_ms, config.segment_bytes), (Some(5), 70, 4096));
    let described = describe(&settings(&[("retention.ms", "+9")]), &dynamic);
    let retention = described.iter().find(|value| value.definition.name == "retention.ms").unwrap();
    let sources: Vec<_> = retention.sources.iter().map(|(source, value)| (*source, value.as_str())).collect();
    let expected = [
        (ConfigSource::Topic, "9"),
        (ConfigSource::OneBroker("log.retention.ms"), "5"),
        (ConfigSource::AllBrokers("log.retention.ms"), "7"),
        (ConfigSource::Broker("log.retention.hours"), "3600000"),
        (ConfigSource::Default, "604800000"),
    ];
    assert_eq!(sources, expected);
    assert_eq!(defaults.with_dynamic(None, None), defaults);
}

#[test]
fn settings_of_brokers_that_have_no_effect_keep_nobody_from_starting() {
    let read = |name: &str, value: &str| {
        let file = settings(&[(name, value)]);
        BrokerDefaults::from_settings(|name| file.get(name).cloned())
    };
    for (name, value) in [
        ("unclean.leader.election.enable", "TRUE"),
        ("log.flush.scheduler.interval.ms", "-1"),
        ("log.retention.hours", "-7"),
    ] {
        let defaults = read(name, value).unwrap();
        assert_eq!(TopicConfig::resolve(&BTreeMap::new(), &defaults).retention_ms.is_none(), value == "-7");
    }
    for (name, value) in
        [("unclean.leader.election.enable", "yes"), ("log.preallocate", "1"), ("log.segment.bytes", "1")]
    {
        assert_eq!(read(name, value).unwrap_err().name, name);
    }
}

#[test]
fn internal_segments_go_before_others() {
    let bytes = |topic: &[(&str, &str)]| {
        TopicConfig::resolve(&settings(topic), &BrokerDefaults::default()).segment_bytes
    };
    assert_eq!(bytes(&[("segment.bytes", "5000000"), ("internal.segment.bytes", "300")]), 300);
    assert_eq!(bytes(&[("segment.bytes", "5000000")]), 5_000_000);
    let told = describe(&BTreeMap::new(), &BrokerDefaults::default());
    assert!(told.iter().all(|value| value.definition.name != "internal.segment.bytes"), "it has no value");
}

#[test]
fn values_are_told_as_they_are_understood() {
    let told = |name: &str, value: &str| normal(definition(name).unwrap(), value);
    assert_eq!(told("cleanup.policy", " compact , delete,compact "), "compact,delete");
    assert_eq!(told("retention.ms", " +77 "), "77");
    assert_eq!(told("preallocate", "True"), "true");
    assert_eq!(told("min.cleanable.dirty.ratio", "1e-1"), "0.1");
    assert_eq!(told("compression.type", " gzip "), "gzip");
}

#[test]
fn what_brokers_get_while_they_run_has_each_name_once() {
    assert!(BROKER_CONFIGS.is_sorted_by(|a, b| a.name < b.name));
    for name in
        ["log.retention.ms", "message.max.bytes", "min.insync.replicas", "leader.replication.throttled.rate"]
    {
        assert!(broker_definition(name).is_some(), "{name}");
    }
    for name in ["log.retention.hours", "ottla.ack.durability", "retention.ms", "node.id"] {
        assert!(broker_definition(name).is_none(), "{name}");
    }
}

#[test]
fn values_of_a_newer_version_count_as_unset() {
    let odd = settings(&[("segment.bytes", "huge"), ("ack.durability", "quorum")]);
    let config = TopicConfig::resolve(&odd, &BrokerDefaults::default());
    assert_eq!(config, TopicConfig::resolve(&BTreeMap::new(), &BrokerDefaults::default()));
}
