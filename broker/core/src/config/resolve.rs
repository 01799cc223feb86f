//! What is in force for a topic: its own value, else what brokers were given while they run, else what the
//! broker's own configuration says, else the table's.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

use super::table::{ConfigDefinition, Effect, Rule, Synonym, TOPIC_CONFIGS, definition};
use super::validate::{ConfigError, list, normal, validate, validate_type};

/// What topics have by default on one broker, by the topic configuration's name. Every value is valid for it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct BrokerDefaults {
    /// From the strongest to the weakest source; at least one.
    values: BTreeMap<&'static str, Vec<(ConfigSource, String)>>,
}

/// What was set on brokers while they run, by the setting's name.
type Dynamic<'a> = Option<&'a BTreeMap<String, String>>;

impl BrokerDefaults {
    /// Reads the synonyms (as `log.retention.hours`) among a broker's settings. One that can't be heeded and
    /// has no effect here anyway is passed over, as are those of which only the default is allowed: topics
    /// refuse it with the reason.
    ///
    /// # Errors
    /// When a value isn't one that the topic configuration may have; the error names the broker's setting.
    pub fn from_settings(get: impl Fn(&str) -> Option<String>) -> Result<Self, ConfigError> {
        let mut values = BTreeMap::new();
        for definition in TOPIC_CONFIGS {
            let set = definition.synonyms.iter().find_map(|synonym| Some((synonym, get(synonym.name)?)));
            let Some((synonym, given)) = set else { continue };
            let named = |reason| ConfigError { name: synonym.name.to_owned(), value: given.clone(), reason };
            let mut value = scaled(synonym, &given).ok_or_else(|| named("use a whole number".to_owned()))?;
            // Kafka's brokers, unlike its topics, take any number below 0 for no limit.
            if definition.name == "retention.ms" && value.starts_with('-') {
                "-1".clone_into(&mut value);
            }
            validate_type(definition, &value).map_err(named)?;
            match validate(definition.name, &value) {
                Ok(()) => {
                    values.insert(definition.name, vec![(ConfigSource::Broker(synonym.name), value)]);
                }
                Err(_)
                    if definition.effect == Effect::NotYet || matches!(definition.rule, Rule::Only(..)) => {}
                Err(error) => return Err(named(error.reason)),
            }
        }
        Ok(Self { values })
    }

    /// These, under what was set while brokers run on this one and on all of them.
    pub fn with_dynamic(&self, own: Dynamic<'_>, of_all: Dynamic<'_>) -> Self {
        let mut values = self.values.clone();
        for definition in TOPIC_CONFIGS {
            let Some(name) = definition.dynamic_synonym() else { continue };
            // The weaker first, as each goes before the others.
            for (set, source) in
                [(of_all, ConfigSource::AllBrokers(name)), (own, ConfigSource::OneBroker(name))]
            {
                let value = set.and_then(|set| set.get(name));
                if let Some(value) = value.filter(|value| validate(definition.name, value).is_ok()) {
                    values.entry(definition.name).or_default().insert(0, (source, value.clone()));
                }
            }
        }
        Self { values }
    }

    /// The broker's default for the topic configuration `name`, and the setting that gave it.
    pub fn get(&self, name: &str) -> Option<(&'static str, &str)> {
        let (source, value) = self.values.get(name)?.first()?;
        Some((source.setting()?, value))
    }
}

fn scaled(synonym: &Synonym, given: &str) -> Option<String> {
    let given = given.trim();
    if synonym.scale == 1 {
        return Some(given.to_owned());
    }
    let number: i64 = given.parse().ok()?;
    Some(if number < 0 { -1 } else { number.saturating_mul(synonym.scale) }.to_string())
}

/// Where a value comes from, as DescribeConfigs tells it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ConfigSource {
    /// Set on the topic.
    Topic,
    /// Set on this broker while it runs, by this setting.
    OneBroker(&'static str),
    /// Set on all brokers while they run, by this setting.
    AllBrokers(&'static str),
    /// Set in the broker's own configuration, by this setting.
    Broker(&'static str),
    /// The table's default.
    Default,
}

impl ConfigSource {
    /// The setting of a broker that it is.
    pub fn setting(self) -> Option<&'static str> {
        match self {
            Self::OneBroker(name) | Self::AllBrokers(name) | Self::Broker(name) => Some(name),
            Self::Topic | Self::Default => None,
        }
    }
}

/// One configuration of a topic, in force.
#[derive(Clone, Debug)]
pub struct ConfigValue {
    /// What it is.
    pub definition: &'static ConfigDefinition,
    /// Its value.
    pub value: String,
    /// Who set it.
    pub source: ConfigSource,
    /// All values that there are for it, the one in force first.
    pub sources: Vec<(ConfigSource, String)>,
}

/// All configurations of a topic with `overrides`, by name; without those that have no value.
pub fn describe(overrides: &BTreeMap<String, String>, defaults: &BrokerDefaults) -> Vec<ConfigValue> {
    TOPIC_CONFIGS.iter().filter_map(|definition| in_force(definition, overrides, defaults)).collect()
}

fn in_force(
    definition: &'static ConfigDefinition,
    overrides: &BTreeMap<String, String>,
    defaults: &BrokerDefaults,
) -> Option<ConfigValue> {
    let own = overrides.get(definition.name).map(|value| (ConfigSource::Topic, value.clone()));
    let of_brokers = defaults.values.get(definition.name).into_iter().flatten().cloned();
    let default = definition.has_default().then(|| (ConfigSource::Default, definition.default.to_owned()));
    let all = own.into_iter().chain(of_brokers).chain(default);
    let sources: Vec<_> = all.map(|(source, value)| (source, normal(definition, &value))).collect();
    let (source, value) = sources.first()?.clone();
    Some(ConfigValue { definition, value, source, sources })
}

/// What an acks=all success means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AckDurability {
    /// The records are on the disk.
    Synced,
    /// The records are in the page cache.
    Written,
}

/// The configurations of a topic that act, parsed, and those of compaction.
#[derive(Clone, Debug, PartialEq)]
pub struct TopicConfig {
    /// `ack.durability`
    pub ack_durability: AckDurability,
    /// `cleanup.policy` has `delete`.
    pub cleanup_delete: bool,
    /// `cleanup.policy` has `compact`.
    pub cleanup_compact: bool,
    /// `min.cleanable.dirty.ratio`
    pub min_cleanable_dirty_ratio: f64,
    /// `min.compaction.lag.ms`
    pub min_compaction_lag_ms: i64,
    /// `max.compaction.lag.ms`
    pub max_compaction_lag_ms: i64,
    /// `delete.retention.ms`
    pub delete_retention_ms: i64,
    /// `retention.ms`; none: for ever.
    pub retention_ms: Option<i64>,
    /// `retention.bytes`; none: any number.
    pub retention_bytes: Option<i64>,
    /// `segment.bytes`
    pub segment_bytes: i32,
    /// `segment.ms`
    pub segment_ms: i64,
    /// `index.interval.bytes`
    pub index_interval_bytes: i32,
    /// `segment.index.bytes`
    pub segment_index_bytes: i32,
    /// `max.message.bytes`
    pub max_message_bytes: i32,
    /// `message.timestamp.type` is LogAppendTime.
    pub log_append_time: bool,
    /// `message.timestamp.before.max.ms`
    pub timestamp_before_max_ms: i64,
    /// `message.timestamp.after.max.ms`
    pub timestamp_after_max_ms: i64,
    /// `min.insync.replicas`
    pub min_insync_replicas: i32,
}

/// The number in a text that was checked.
fn number<T: FromStr<Err: fmt::Debug>>(text: &str) -> T {
    text.parse().expect("`validate` takes only numbers for it")
}

impl TopicConfig {
    /// The configuration in force of a topic with these overrides.
    ///
    /// A value that this version can't read (from a newer one's metadata) counts as unset.
    pub fn resolve(overrides: &BTreeMap<String, String>, defaults: &BrokerDefaults) -> Self {
        let text = |name: &str| {
            let definition = definition(name).expect("only names of the table are asked for below");
            let own = overrides.get(name).filter(|value| validate(name, value).is_ok());
            let value = own.map(String::as_str).or(defaults.get(name).map(|(_, value)| value));
            value.unwrap_or(definition.default).trim().to_owned()
        };
        let long = |name: &str| number::<i64>(&text(name));
        let int = |name: &str| number::<i32>(&text(name));
        let limit = |name: &str| Some(long(name)).filter(|number| *number >= 0);
        let policy = text("cleanup.policy");
        Self {
            ack_durability: match text("ack.durability").as_str() {
                "written" => AckDurability::Written,
                _ => AckDurability::Synced,
            },
            cleanup_delete: list(&policy).any(|item| item == "delete"),
            cleanup_compact: list(&policy).any(|item| item == "compact"),
            min_cleanable_dirty_ratio: number(&text("min.cleanable.dirty.ratio")),
            min_compaction_lag_ms: long("min.compaction.lag.ms"),
            max_compaction_lag_ms: long("max.compaction.lag.ms"),
            delete_retention_ms: long("delete.retention.ms"),
            retention_ms: limit("retention.ms"),
            retention_bytes: limit("retention.bytes"),
            segment_bytes: text("internal.segment.bytes").parse().unwrap_or_else(|_| int("segment.bytes")),
            segment_ms: long("segment.ms"),
            index_interval_bytes: int("index.interval.bytes"),
            segment_index_bytes: int("segment.index.bytes"),
            max_message_bytes: int("max.message.bytes"),
            log_append_time: text("message.timestamp.type") == "LogAppendTime",
            timestamp_before_max_ms: long("message.timestamp.before.max.ms"),
            timestamp_after_max_ms: long("message.timestamp.after.max.ms"),
            min_insync_replicas: int("min.insync.replicas"),
        }
    }
}
