//! Each setting that this broker heeds: one line a setting, from which the reference page is made.
//!
//! Kafka's settings that have no effect here stand in [`super::ignored`].

use super::kind::Kind;

/// One setting that has an effect.
#[derive(Debug, Clone, Copy)]
pub struct Setting {
    /// The key, as in `server.properties`.
    pub name: &'static str,
    /// What it may be set to.
    pub kind: Kind,
    /// The text of its default; empty: unset.
    pub default: &'static str,
    /// The topic setting that it is the default of; empty: none.
    pub topic_default_of: &'static str,
    /// What it does, units included.
    pub doc: &'static str,
}

const I32: i64 = i32::MAX as i64;
const I32_MIN: i64 = i32::MIN as i64;
const I64: i64 = i64::MAX;
const WEEK_HOURS: &str = "168";

const fn broker(name: &'static str, kind: Kind, default: &'static str, doc: &'static str) -> Setting {
    Setting { name, kind, default, topic_default_of: "", doc }
}

const fn topic(
    name: &'static str,
    topic_default_of: &'static str,
    kind: Kind,
    default: &'static str,
    doc: &'static str,
) -> Setting {
    Setting { name, kind, default, topic_default_of, doc }
}

/// All settings that have an effect, in reading order.
#[rustfmt::skip]
pub const SETTINGS: &[Setting] = &[
    // Who this node is.
    broker("node.id", Kind::Int(0, I32), "1", "The id of this node, unique in the cluster."),
    broker("broker.id", Kind::Int(-1, I32), "-1", "An old name of node.id; if both are set they must agree."),
    broker("process.roles", Kind::List, "broker,controller", "What this node does: broker, or broker and controller. Nodes with the role controller may vote in the metadata quorum. A controller alone is refused, as it is not supported yet."),
    broker("broker.rack", Kind::Text, "", "The rack or zone of this node, over which replicas are spread."),
    broker("cluster.id", Kind::Text, "", "The id of the cluster, 22 characters of base64url. Unset: the one in the data folder; for a new one, the quorum's."),
    // Where it listens.
    broker("listeners", Kind::List, "PLAINTEXT://localhost:9092,CONTROLLER://localhost:9093", "Addresses to listen on, as NAME://host:port; an empty host means all interfaces, port 0 a free one."),
    broker("advertised.listeners", Kind::List, "", "The addresses that clients are told; unset: those of listeners. No host means this machine's name. 0.0.0.0 and [::] are refused, as nobody elsewhere can connect to them."),
    broker("listener.security.protocol.map", Kind::List, "PLAINTEXT:PLAINTEXT,SSL:SSL,SASL_PLAINTEXT:SASL_PLAINTEXT,SASL_SSL:SASL_SSL,CONTROLLER:PLAINTEXT", "The security protocol of each listener name, as NAME:PROTOCOL. Only PLAINTEXT is supported: listeners with TLS or SASL are refused until there is such, as they mustn't be open instead. Other names count as PLAINTEXT if they aren't listed."),
    broker("authorizer.class.name", Kind::Text, "", "Access control is not supported yet: any class is refused, as a broker that serves everyone must not stand in its place."),
    broker("inter.broker.listener.name", Kind::Text, "", "The listener that brokers use among themselves; unset: the first with PLAINTEXT."),
    broker("controller.listener.names", Kind::List, "CONTROLLER", "The listeners that carry the control API and the metadata quorum instead of Kafka's protocol."),
    broker("controller.quorum.voters", Kind::List, "", "The voters of the metadata quorum, as id@host:port, each once."),
    broker("controller.quorum.bootstrap.servers", Kind::List, "", "Addresses of control listeners from which the metadata quorum is found, as host:port. Beside controller.quorum.voters: other brokers, which are asked whether there is a quorum already before one is formed."),
    broker("socket.listen.backlog.size", Kind::Int(1, I32), "50", "Connections that may wait to be accepted."),
    broker("socket.send.buffer.bytes", Kind::Int(-1, I32), "102400", "The send buffer of each connection, in bytes; -1: the system's choice."),
    broker("socket.receive.buffer.bytes", Kind::Int(-1, I32), "102400", "The receive buffer of each connection, in bytes; -1: the system's choice."),
    // Where it stores.
    broker("log.dirs", Kind::List, "", "The data folder; unset: log.dir. One is supported, more are refused: a broker with several disks is several brokers here."),
    broker("log.dir", Kind::Text, "./ottla-broker-data", "The data folder, if log.dirs is unset."),
    // Limits.
    broker("socket.request.max.bytes", Kind::Int(1, I32), "104857600", "The largest request, in bytes; a larger one closes its connection."),
    broker("queued.max.request.bytes", Kind::Long(i64::MIN, I64), "268435456", "Memory that the requests of clients may hold together, in bytes: themselves, and what is made of them until they are answered. It is taken as a request arrives, and before it is decoded; a request that would take more than half of it by what it names closes its connection; large requests leave room for smaller ones and each address for others, and of each size one request is completed beyond it. Up to 8 KiB of each connection, and 8 MiB of each other broker, don't count. At least socket.request.max.bytes; 0 or less: the default; more than 4 GiB count as those. Apache Kafka has no such limit by default."),
    broker("max.connections", Kind::Int(0, I32), "10000", "Connections of clients in all; a further one is closed at once. Other brokers have 64 beyond."),
    broker("max.connections.per.ip", Kind::Int(0, I32), "2147483647", "Connections of clients from one address; a further one is closed at once. Unless it is set, the last quarter of max.connections is kept for addresses that have less than a 64th of them."),
    broker("connections.max.idle.ms", Kind::Long(-1, I64), "600000", "A connection without a request for so long is closed, in milliseconds; -1: never."),
    broker("fetch.max.bytes", Kind::Int(1024, I32), "57671680", "The most record bytes in one Fetch response; the first batch is sent even if it is larger."),
    broker("max.incremental.fetch.session.cache.slots", Kind::Int(0, I32), "1000", "Fetch sessions that are kept. One makes room if it was not used for two minutes, or is that old and has fewer partitions than the new one."),
    // Topics.
    broker("auto.create.topics.enable", Kind::Bool, "true", "Whether a topic that a producer or consumer asks for is created."),
    broker("delete.topic.enable", Kind::Bool, "true", "Whether topics can be deleted by Kafka's clients."),
    broker("num.partitions", Kind::Int(1, I32), "1", "The partitions of a topic that is created without saying how many."),
    broker("default.replication.factor", Kind::Int(1, 7), "", "The replicas of a topic that is created without saying how many; unset: 3, or as many as there are brokers, where Apache Kafka gives one. More than 7 are refused, as no partition has more here."),
    // Consumer groups.
    broker("group.min.session.timeout.ms", Kind::Int(I32_MIN, I32), "6000", "The shortest session that a member may ask for, in milliseconds. More than group.max.session.timeout.ms is refused, as no member could join. Without effect so far: there are no groups yet."),
    broker("group.max.session.timeout.ms", Kind::Int(I32_MIN, I32), "1800000", "The longest session that a member may ask for, in milliseconds. Less than group.min.session.timeout.ms is refused, as no member could join. Without effect so far: there are no groups yet."),
    broker("group.initial.rebalance.delay.ms", Kind::Int(I32_MIN, I32), "3000", "How long an empty group waits for more members, again for each that joins, in milliseconds. Without effect so far: there are no groups yet."),
    broker("group.max.size", Kind::Int(1, I32), "2147483647", "The most members of a group; more than 10,000 count as those. Without effect so far: there are no groups yet."),
    broker("offset.metadata.max.bytes", Kind::Int(I32_MIN, I32), "4096", "The longest text that may be committed beside an offset, in bytes. Without effect so far: there are no groups yet."),
    broker("offsets.commit.timeout.ms", Kind::Int(1, I32), "5000", "How long a commit waits for all replicas in sync, in milliseconds. Without effect so far: there are no groups yet."),
    broker("offsets.load.buffer.size", Kind::Int(1, I32), "5242880", "How many bytes of a partition are read at a time while its groups are loaded. Without effect so far: there are no groups yet."),
    broker("offsets.retention.minutes", Kind::Int(1, I32), "10080", "How long offsets are kept that nobody uses, in minutes. Without effect so far: there are no groups yet."),
    broker("offsets.retention.check.interval.ms", Kind::Long(1, I64), "600000", "How often such offsets are looked for, in milliseconds. Without effect so far: there are no groups yet."),
    broker("offsets.topic.num.partitions", Kind::Int(1, 10_000), "50", "The partitions of __consumer_offsets, which is created on first use and keeps them. More than 10,000 are refused, as no topic is created with more."),
    broker("offsets.topic.replication.factor", Kind::Short(1, 7), "", "The replicas of __consumer_offsets; unset: as default.replication.factor says, where Apache Kafka asks for 3 and has no groups in a smaller cluster. More than 7 are refused, as no partition has more here."),
    broker("offsets.topic.segment.bytes", Kind::Int(14, I32), "104857600", "The largest segment file of __consumer_offsets, in bytes."),
    // Replication.
    broker("replica.lag.time.max.ms", Kind::Long(1, I64), "3000", "A follower that hasn't had everything for so long no longer counts as in sync, in milliseconds. The meaning differs from Apache Kafka's: there a follower has everything once it has fetched it, here once it has synced it, so that it holds up acks=all; hence 3 s, not 30."),
    broker("replica.fetch.wait.max.ms", Kind::Int(I32_MIN, I32), "500", "How long a follower's fetch waits at the leader when there is nothing new, in milliseconds; 1 at least."),
    broker("replica.fetch.max.bytes", Kind::Int(0, I32), "1048576", "The most bytes of one partition in a follower's fetch; the first batch comes even if it is larger."),
    broker("replica.fetch.response.max.bytes", Kind::Int(0, I32), "10485760", "The most bytes in all of a follower's fetch; the first batch comes even if it is larger."),
    broker("replica.selector.class", Kind::Text, "RackAwareReplicaSelector", "Which replica consumers that name their rack are sent to; Apache Kafka sends none unless it is told to. A class whose name ends in RackAwareReplicaSelector: one in sync in that rack; any other: always the leader."),
    // Defaults of topics.
    topic("log.cleanup.policy", "cleanup.policy", Kind::List, "delete", "What becomes of old records. Only delete has an effect so far."),
    topic("log.retention.hours", "", Kind::Int(I32_MIN, I32), WEEK_HOURS, "How long records are kept, in hours; less than 0: for ever. 0 is refused, as by Apache Kafka."),
    topic("log.retention.minutes", "", Kind::Int(I32_MIN, I32), "", "The same in minutes; goes before log.retention.hours."),
    topic("log.retention.ms", "retention.ms", Kind::Long(i64::MIN, I64), "", "The same in milliseconds; goes before log.retention.minutes."),
    topic("log.retention.bytes", "retention.bytes", Kind::Long(i64::MIN, I64), "-1", "How much of each partition is kept, in bytes; less than 0: everything."),
    topic("log.segment.bytes", "segment.bytes", Kind::Int(14, I32), "1073741824", "The largest segment file, in bytes."),
    topic("log.roll.hours", "", Kind::Int(1, I32), WEEK_HOURS, "The age at which a new segment is begun, in hours."),
    topic("log.roll.ms", "segment.ms", Kind::Long(1, I64), "", "The same in milliseconds; goes before log.roll.hours."),
    topic("log.index.interval.bytes", "index.interval.bytes", Kind::Int(0, I32), "4096", "The bytes between two entries of an index."),
    topic("log.index.size.max.bytes", "segment.index.bytes", Kind::Int(4, I32), "10485760", "The largest index file, in bytes."),
    topic("log.message.timestamp.after.max.ms", "message.timestamp.after.max.ms", Kind::Long(0, I64), "3600000", "How far ahead of the broker's clock a record's time may be, in milliseconds."),
    topic("log.message.timestamp.before.max.ms", "message.timestamp.before.max.ms", Kind::Long(0, I64), "9223372036854775807", "How far behind the broker's clock a record's time may be, in milliseconds."),
    topic("log.message.timestamp.type", "message.timestamp.type", Kind::Choice(&["CreateTime", "LogAppendTime"]), "CreateTime", "Whose clock stamps records: the producer's or the broker's."),
    topic("message.max.bytes", "max.message.bytes", Kind::Int(0, I32), "1048588", "The largest record batch, in bytes. A compressed one may become 32 MiB in memory, or 256 times its size up to 1 GiB if that is more."),
    topic("min.insync.replicas", "min.insync.replicas", Kind::Int(1, I32), "2", "The replicas that must have a record before acks=all is answered and it is seen; never more than the topic has. Apache Kafka asks for one. What the broker says that registered last holds for the whole cluster, unless it is set on all brokers while they run."),
    broker("log.retention.check.interval.ms", Kind::Long(1, I64), "300000", "How often segments are looked over for deletion, in milliseconds."),
    broker("log.flush.offset.checkpoint.interval.ms", Kind::Int(0, I32), "30000", "How often it is written down how far each log is synced, which a start after a crash goes on from, in milliseconds, 1 at least. Apache Kafka writes down how far it flushed. Files that weren't used since the time before are closed then."),
    // Ottla's own.
    broker("ottla.http.listener", Kind::Text, "127.0.0.1:0", "host:port of /livez, /readyz, /metrics and /loglevel; port 0: a free one; none: no such listener."),
    broker("ottla.log.filter", Kind::Text, "info,openraft=off", "What is logged, as in info,ottla_server=debug."),
    broker("ottla.log.format", Kind::Choice(&["text", "json"]), "text", "How log lines are written."),
    broker("ottla.group.state.max.bytes", Kind::Long(1, I64), "268435456", "Memory that all groups and offsets of a broker may take up, in bytes; beyond it no group, member or offset is added. Without effect so far: there are no groups yet."),
    broker("ottla.worker.threads", Kind::Int(0, 1024), "0", "Threads that serve connections; 0: as many as there are cores."),
    topic("ottla.ack.durability", "ack.durability", Kind::Choice(&["synced", "written"]), "synced", "When a record counts as stored: once synced to disk, or once written to the page cache."),
];

/// Finds a setting by its key.
pub fn setting(name: &str) -> Option<&'static Setting> {
    SETTINGS.iter().find(|setting| setting.name == name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_unique_and_defaults_are_allowed() {
        for (index, one) in SETTINGS.iter().enumerate() {
            assert!(
                SETTINGS[..index].iter().all(|other| other.name != one.name),
                "{} stands twice",
                one.name
            );
            assert!(one.default.is_empty() || one.kind.parse(one.default).is_some(), "{}", one.name);
            assert!(one.doc.ends_with('.'), "{}", one.name);
        }
    }
}
