//! The table of topic configurations.

use std::sync::LazyLock;

/// One configuration of a topic.
#[derive(Debug, Clone, Copy)]
pub struct ConfigDefinition {
    /// Its name, as in `retention.ms`.
    pub name: &'static str,
    /// The type of its values.
    pub kind: ConfigType,
    /// The value when neither the topic nor the broker sets it, as text; empty for what has none then, if it
    /// is a number.
    pub default: &'static str,
    /// The broker settings that give topics another default, the strongest first.
    pub synonyms: &'static [Synonym],
    /// Which values are allowed.
    pub rule: Rule,
    /// Whether it acts here.
    pub effect: Effect,
    /// What it does, for the reference page.
    pub doc: &'static str,
}

/// A broker setting that stands for a topic configuration.
#[derive(Debug)]
pub struct Synonym {
    /// Its name, as in `log.retention.hours`.
    pub name: &'static str,
    /// Its value times this is the topic's value; −1 stays −1.
    pub scale: i64,
}

/// The types that Kafka tells clients.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ConfigType {
    /// `true` or `false`.
    Boolean,
    /// A 32-bit number.
    Int,
    /// A 64-bit number.
    Long,
    /// A number with a fraction.
    Double,
    /// Text.
    String,
    /// Texts with commas between them.
    List,
}

/// Which values are allowed, beyond the type.
#[derive(Clone, Copy, Debug)]
pub enum Rule {
    /// Any value of the type.
    Any,
    /// At least this.
    AtLeast(i64),
    /// Pairs of a partition and a broker (`0:1`), or `*`; or nothing.
    Replicas,
    /// From and to, both included.
    Between(f64, f64),
    /// From and to, both included.
    Within(i64, i64),
    /// This only, as the text says.
    Only(&'static str, &'static str),
    /// One of these, or with [`ConfigType::List`] a choice of them.
    OneOf(&'static [&'static str]),
}

/// Whether a configuration acts in this version.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Effect {
    /// It does what its documentation says.
    Acts,
    /// It is checked, kept and shown, and changes nothing yet.
    NotYet,
}

impl ConfigDefinition {
    /// Whether it has a value when nobody sets it. An empty text is one, and no number.
    pub fn has_default(&self) -> bool {
        !self.default.is_empty() || matches!(self.kind, ConfigType::String | ConfigType::List)
    }

    /// The setting by which brokers get another default of this topic configuration while they run: of its
    /// synonyms the strongest, unless what acks=all means would change under those who rely on it.
    pub fn dynamic_synonym(&self) -> Option<&'static str> {
        let strongest = self.synonyms.first().filter(|synonym| synonym.scale == 1)?;
        (strongest.name != "ottla.ack.durability").then_some(strongest.name)
    }
}

/// The definition of the topic configuration with this name.
pub fn definition(name: &str) -> Option<&'static ConfigDefinition> {
    TOPIC_CONFIGS.iter().find(|definition| definition.name == name)
}

const fn same(name: &'static str) -> Synonym {
    Synonym { name, scale: 1 }
}

const MINUTE_MS: i64 = 60_000;
const HOUR_MS: i64 = 60 * MINUTE_MS;

/// Every configuration that a topic may have, by name.
pub static TOPIC_CONFIGS: &[ConfigDefinition] = &[
    ConfigDefinition {
        name: "ack.durability",
        kind: ConfigType::String,
        default: "synced",
        synonyms: &[same("ottla.ack.durability")],
        rule: Rule::OneOf(&["synced", "written"]),
        effect: Effect::Acts,
        doc: "What an acks=all success means: `synced`, the records are on the disk; `written`, they are in the \
              page cache, as with Apache Kafka, and a power loss may take them.",
    },
    ConfigDefinition {
        name: "cleanup.policy",
        kind: ConfigType::List,
        default: "delete",
        synonyms: &[same("log.cleanup.policy")],
        rule: Rule::OneOf(&["delete", "compact"]),
        effect: Effect::Acts,
        doc: "`delete` drops old segments by time and size. `compact` is accepted; until compaction comes, such a \
              topic keeps everything, as it does with neither.",
    },
    ConfigDefinition {
        name: "compression.gzip.level",
        kind: ConfigType::Int,
        default: "-1",
        synonyms: &[same("compression.gzip.level")],
        rule: Rule::Within(-1, 9),
        effect: Effect::NotYet,
        doc: "Batches are kept as the producer compressed them, whatever is set here.",
    },
    ConfigDefinition {
        name: "compression.lz4.level",
        kind: ConfigType::Int,
        default: "9",
        synonyms: &[same("compression.lz4.level")],
        rule: Rule::Within(1, 17),
        effect: Effect::NotYet,
        doc: "Batches are kept as the producer compressed them, whatever is set here.",
    },
    ConfigDefinition {
        name: "compression.type",
        kind: ConfigType::String,
        default: "producer",
        synonyms: &[same("compression.type")],
        rule: Rule::OneOf(&["producer", "uncompressed", "gzip", "snappy", "lz4", "zstd"]),
        effect: Effect::NotYet,
        doc: "Batches are kept as the producer compressed them, whatever is set here.",
    },
    ConfigDefinition {
        name: "compression.zstd.level",
        kind: ConfigType::Int,
        default: "3",
        synonyms: &[same("compression.zstd.level")],
        rule: Rule::Within(-131_072, 22),
        effect: Effect::NotYet,
        doc: "Batches are kept as the producer compressed them, whatever is set here.",
    },
    ConfigDefinition {
        name: "delete.retention.ms",
        kind: ConfigType::Long,
        default: "86400000",
        synonyms: &[same("log.cleaner.delete.retention.ms")],
        rule: Rule::AtLeast(0),
        effect: Effect::NotYet,
        doc: "How long a compacted topic keeps delete markers, in milliseconds.",
    },
    ConfigDefinition {
        name: "file.delete.delay.ms",
        kind: ConfigType::Long,
        default: "60000",
        synonyms: &[same("log.segment.delete.delay.ms")],
        rule: Rule::AtLeast(0),
        effect: Effect::NotYet,
        doc: "How long a deleted segment's files stay, in milliseconds. They go at once here; readers finish.",
    },
    ConfigDefinition {
        name: "flush.messages",
        kind: ConfigType::Long,
        default: "9223372036854775807",
        synonyms: &[same("log.flush.interval.messages")],
        rule: Rule::AtLeast(1),
        effect: Effect::NotYet,
        doc: "After how many records Apache Kafka syncs. Here everything is synced before it is acknowledged, unless \
              `ack.durability` says otherwise.",
    },
    ConfigDefinition {
        name: "flush.ms",
        kind: ConfigType::Long,
        default: "9223372036854775807",
        synonyms: &[same("log.flush.interval.ms"), same("log.flush.scheduler.interval.ms")],
        rule: Rule::AtLeast(0),
        effect: Effect::NotYet,
        doc: "After how many milliseconds Apache Kafka syncs. Here everything is synced before it is acknowledged, \
              unless `ack.durability` says otherwise.",
    },
    ConfigDefinition {
        name: "follower.replication.throttled.replicas",
        kind: ConfigType::List,
        default: "",
        synonyms: &[],
        rule: Rule::Replicas,
        effect: Effect::Acts,
        doc: "The replicas whose fetching is held to `follower.replication.throttled.rate` while they are not in \
              sync, as partition:broker pairs, or `*` for all.",
    },
    ConfigDefinition {
        name: "index.interval.bytes",
        kind: ConfigType::Int,
        default: "4096",
        synonyms: &[same("log.index.interval.bytes")],
        rule: Rule::AtLeast(0),
        effect: Effect::Acts,
        doc: "How many bytes of records lie between two entries of a segment's index.",
    },
    ConfigDefinition {
        name: "internal.segment.bytes",
        kind: ConfigType::Int,
        default: "",
        synonyms: &[],
        rule: Rule::AtLeast(14),
        effect: Effect::Acts,
        doc: "Goes before `segment.bytes` where it is set: Apache Kafka's own tests make small segments by it.",
    },
    ConfigDefinition {
        name: "leader.replication.throttled.replicas",
        kind: ConfigType::List,
        default: "",
        synonyms: &[],
        rule: Rule::Replicas,
        effect: Effect::Acts,
        doc: "The leaders whose reading by followers that are not in sync is held to \
              `leader.replication.throttled.rate`, as partition:broker pairs, or `*` for all.",
    },
    ConfigDefinition {
        name: "local.retention.bytes",
        kind: ConfigType::Long,
        default: "-2",
        synonyms: &[same("log.local.retention.bytes")],
        rule: Rule::AtLeast(-2),
        effect: Effect::NotYet,
        doc: "What a partition keeps on the broker's own disk if it has more elsewhere. There is no tiered storage here.",
    },
    ConfigDefinition {
        name: "local.retention.ms",
        kind: ConfigType::Long,
        default: "-2",
        synonyms: &[same("log.local.retention.ms")],
        rule: Rule::AtLeast(-2),
        effect: Effect::NotYet,
        doc: "How long a segment is kept on the broker's own disk if it is elsewhere, too. There is no tiered storage here.",
    },
    ConfigDefinition {
        name: "max.compaction.lag.ms",
        kind: ConfigType::Long,
        default: "9223372036854775807",
        synonyms: &[same("log.cleaner.max.compaction.lag.ms")],
        rule: Rule::AtLeast(1),
        effect: Effect::NotYet,
        doc: "After how many milliseconds a record must have been compacted.",
    },
    ConfigDefinition {
        name: "max.message.bytes",
        kind: ConfigType::Int,
        default: "1048588",
        synonyms: &[same("message.max.bytes")],
        rule: Rule::AtLeast(0),
        effect: Effect::Acts,
        doc: "The largest batch of records, in bytes, as it is after compression.",
    },
    ConfigDefinition {
        name: "message.timestamp.after.max.ms",
        kind: ConfigType::Long,
        default: "3600000",
        synonyms: &[same("log.message.timestamp.after.max.ms")],
        rule: Rule::AtLeast(0),
        effect: Effect::Acts,
        doc: "How far ahead of the broker's clock a record's time may be, in milliseconds.",
    },
    ConfigDefinition {
        name: "message.timestamp.before.max.ms",
        kind: ConfigType::Long,
        default: "9223372036854775807",
        synonyms: &[same("log.message.timestamp.before.max.ms")],
        rule: Rule::AtLeast(0),
        effect: Effect::Acts,
        doc: "How far behind the broker's clock a record's time may be, in milliseconds.",
    },
    ConfigDefinition {
        name: "message.timestamp.type",
        kind: ConfigType::String,
        default: "CreateTime",
        synonyms: &[same("log.message.timestamp.type")],
        rule: Rule::OneOf(&["CreateTime", "LogAppendTime"]),
        effect: Effect::Acts,
        doc: "Whether a record's time is the producer's or that of its arrival.",
    },
    ConfigDefinition {
        name: "min.cleanable.dirty.ratio",
        kind: ConfigType::Double,
        default: "0.5",
        synonyms: &[same("log.cleaner.min.cleanable.ratio")],
        rule: Rule::Between(0.0, 1.0),
        effect: Effect::NotYet,
        doc: "Which share of a compacted log must be new before it is compacted again.",
    },
    ConfigDefinition {
        name: "min.compaction.lag.ms",
        kind: ConfigType::Long,
        default: "0",
        synonyms: &[same("log.cleaner.min.compaction.lag.ms")],
        rule: Rule::AtLeast(0),
        effect: Effect::NotYet,
        doc: "For how many milliseconds a record stays uncompacted.",
    },
    ConfigDefinition {
        name: "min.insync.replicas",
        kind: ConfigType::Int,
        default: "2",
        synonyms: &[same("min.insync.replicas")],
        rule: Rule::AtLeast(1),
        effect: Effect::Acts,
        doc: "On how many replicas a record must be for an acks=all success, and to be seen; never more than the \
              topic has. The default of the broker that registered last holds for the whole cluster.",
    },
    ConfigDefinition {
        name: "preallocate",
        kind: ConfigType::Boolean,
        default: "false",
        synonyms: &[same("log.preallocate")],
        rule: Rule::Any,
        effect: Effect::NotYet,
        doc: "Whether a new segment's file gets its full size at once.",
    },
    ConfigDefinition {
        name: "remote.log.copy.disable",
        kind: ConfigType::Boolean,
        default: "false",
        synonyms: &[],
        rule: Rule::Any,
        effect: Effect::NotYet,
        doc: "There is no tiered storage here.",
    },
    ConfigDefinition {
        name: "remote.log.delete.on.disable",
        kind: ConfigType::Boolean,
        default: "false",
        synonyms: &[],
        rule: Rule::Any,
        effect: Effect::NotYet,
        doc: "There is no tiered storage here.",
    },
    ConfigDefinition {
        name: "remote.storage.enable",
        kind: ConfigType::Boolean,
        default: "false",
        synonyms: &[],
        rule: Rule::Only("false", "there is no tiered storage here"),
        effect: Effect::Acts,
        doc: "Whether old segments are moved to tiered storage. There is none here, so `true` is refused, as by Apache Kafka \
              without it.",
    },
    ConfigDefinition {
        name: "retention.bytes",
        kind: ConfigType::Long,
        default: "-1",
        synonyms: &[same("log.retention.bytes")],
        rule: Rule::Any,
        effect: Effect::Acts,
        doc: "How many bytes a partition keeps before its oldest segments go; -1: any number.",
    },
    ConfigDefinition {
        name: "retention.ms",
        kind: ConfigType::Long,
        default: "604800000",
        synonyms: &[
            same("log.retention.ms"),
            Synonym { name: "log.retention.minutes", scale: MINUTE_MS },
            Synonym { name: "log.retention.hours", scale: HOUR_MS },
        ],
        rule: Rule::AtLeast(-1),
        effect: Effect::Acts,
        doc: "How many milliseconds a segment is kept after its newest record; -1: for ever.",
    },
    ConfigDefinition {
        name: "segment.bytes",
        kind: ConfigType::Int,
        default: "1073741824",
        synonyms: &[same("log.segment.bytes")],
        rule: Rule::AtLeast(14),
        effect: Effect::Acts,
        doc: "At which size a segment ends and a new one begins. Apache Kafka asks for a mebibyte at least.",
    },
    ConfigDefinition {
        name: "segment.index.bytes",
        kind: ConfigType::Int,
        default: "10485760",
        synonyms: &[same("log.index.size.max.bytes")],
        rule: Rule::AtLeast(4),
        effect: Effect::Acts,
        doc: "At which size of its index, in bytes, a segment ends and a new one begins.",
    },
    ConfigDefinition {
        name: "segment.jitter.ms",
        kind: ConfigType::Long,
        default: "0",
        synonyms: &[same("log.roll.jitter.ms"), Synonym { name: "log.roll.jitter.hours", scale: HOUR_MS }],
        rule: Rule::AtLeast(0),
        effect: Effect::NotYet,
        doc: "By how much at most segments of different partitions end earlier than `segment.ms`, in milliseconds.",
    },
    ConfigDefinition {
        name: "segment.ms",
        kind: ConfigType::Long,
        default: "604800000",
        synonyms: &[same("log.roll.ms"), Synonym { name: "log.roll.hours", scale: HOUR_MS }],
        rule: Rule::AtLeast(1),
        effect: Effect::Acts,
        doc: "After how many milliseconds a segment ends and a new one begins.",
    },
    ConfigDefinition {
        name: "unclean.leader.election.enable",
        kind: ConfigType::Boolean,
        default: "false",
        synonyms: &[same("unclean.leader.election.enable")],
        rule: Rule::Only(
            "false",
            "a replica that may lack acknowledged records never leads by itself here: an administrator names it in \
             an unclean election",
        ),
        effect: Effect::Acts,
        doc: "Whether a replica that may lack acknowledged records leads by itself. It never does here, so topics \
              refuse `true`, and a broker's `true` is ignored with a warning. An administrator can name a replica \
              in an unclean election and accept the loss.",
    },
];

/// What can be set on brokers while they run, on one or on all of them, by name: how much replication takes,
/// and what topics have that don't set it themselves.
pub static BROKER_CONFIGS: LazyLock<Vec<ConfigDefinition>> = LazyLock::new(|| {
    let of_topics = TOPIC_CONFIGS.iter().filter_map(|definition| {
        let name = definition.dynamic_synonym()?;
        Some(ConfigDefinition { name, synonyms: &[], ..*definition })
    });
    let mut all: Vec<_> = OWN_BROKER_CONFIGS.iter().copied().chain(of_topics).collect();
    all.sort_by_key(|definition| definition.name);
    all
});

/// Whether it is the same on all brokers, so that it is set on all of them and not on one.
pub fn is_cluster_wide(name: &str) -> bool {
    name == "min.insync.replicas"
}

static OWN_BROKER_CONFIGS: &[ConfigDefinition] = &[
    ConfigDefinition {
        name: "follower.replication.throttled.rate",
        kind: ConfigType::Long,
        default: "9223372036854775807",
        synonyms: &[],
        rule: Rule::AtLeast(0),
        effect: Effect::Acts,
        doc: "How many bytes a second a broker fetches at most for the replicas that a topic's \
              `follower.replication.throttled.replicas` names.",
    },
    ConfigDefinition {
        name: "leader.replication.throttled.rate",
        kind: ConfigType::Long,
        default: "9223372036854775807",
        synonyms: &[],
        rule: Rule::AtLeast(0),
        effect: Effect::Acts,
        doc: "How many bytes a second a broker gives followers at most of the partitions that a topic's \
              `leader.replication.throttled.replicas` names.",
    },
    ConfigDefinition {
        name: "max.connections",
        kind: ConfigType::Int,
        default: "10000",
        synonyms: &[],
        rule: Rule::AtLeast(0),
        effect: Effect::Acts,
        doc: "Connections of clients in all; a further one is closed at once.",
    },
    ConfigDefinition {
        name: "max.connections.per.ip",
        kind: ConfigType::Int,
        default: "2147483647",
        synonyms: &[],
        rule: Rule::AtLeast(0),
        effect: Effect::Acts,
        doc: "Connections of clients from one address; a further one is closed at once.",
    },
    ConfigDefinition {
        name: "replica.alter.log.dirs.io.max.bytes.per.second",
        kind: ConfigType::Long,
        default: "9223372036854775807",
        synonyms: &[],
        rule: Rule::AtLeast(0),
        effect: Effect::NotYet,
        doc: "How many bytes a second are copied at most between a broker's own folders: it has one. Kafka's tools \
              unset it together with the two others.",
    },
];

/// The definition of what can be set on brokers under this name.
pub fn broker_definition(name: &str) -> Option<&'static ConfigDefinition> {
    BROKER_CONFIGS.iter().find(|definition| definition.name == name)
}
