//! Kafka 4.3's settings that have no effect here: known with their types, so that a file which sets one still
//! starts, is told from one with a misspelled name, and is described.
//!
//! Each that is set is named in the one warning about such settings.

use super::kind::Kind;

/// The types of Kafka's settings, as its reference pages and DescribeConfigs name them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum KafkaType {
    /// `true` or `false`.
    Boolean,
    /// A text.
    String,
    /// A 32-bit number.
    Int,
    /// A 16-bit number.
    Short,
    /// A 64-bit number.
    Long,
    /// A number with a fraction.
    Double,
    /// Texts, separated by commas.
    List,
    /// The name of a Java class.
    Class,
    /// A secret, which is never told.
    Password,
}

/// The names by type.
#[rustfmt::skip]
const IGNORED: &[(KafkaType, &[&str])] = &[
    (KafkaType::Boolean, &[
        "auto.leader.rebalance.enable",
        "controlled.shutdown.enable",
        "controller.quorum.auto.join.enable",
        "follower.fetch.last.tiered.offset.enable",
        "log.cleaner.enable",
        "log.preallocate",
        "remote.log.storage.system.enable",
        "sasl.oauthbearer.assertion.claim.jti.include",
        "ssl.allow.dn.changes",
        "ssl.allow.san.changes",
        "transaction.partition.verification.enable",
        "transaction.two.phase.commit.enable",
        "unclean.leader.election.enable",
        "unstable.api.versions.enable",
        "unstable.feature.versions.enable",
    ]),
    (KafkaType::String, &[
        "compression.type",
        "group.consumer.migration.policy",
        "group.share.persister.class.name",
        "max.connections.per.ip.overrides",
        "metadata.log.dir",
        "metrics.recording.level",
        "remote.log.metadata.manager.class.name",
        "remote.log.metadata.manager.class.path",
        "remote.log.metadata.manager.impl.prefix",
        "remote.log.metadata.manager.listener.name",
        "remote.log.storage.manager.class.name",
        "remote.log.storage.manager.class.path",
        "remote.log.storage.manager.impl.prefix",
        "sasl.kerberos.kinit.cmd",
        "sasl.kerberos.service.name",
        "sasl.mechanism.controller.protocol",
        "sasl.mechanism.inter.broker.protocol",
        "sasl.oauthbearer.assertion.algorithm",
        "sasl.oauthbearer.assertion.claim.aud",
        "sasl.oauthbearer.assertion.claim.iss",
        "sasl.oauthbearer.assertion.claim.sub",
        "sasl.oauthbearer.assertion.file",
        "sasl.oauthbearer.assertion.private.key.file",
        "sasl.oauthbearer.assertion.template.file",
        "sasl.oauthbearer.client.credentials.client.id",
        "sasl.oauthbearer.expected.issuer",
        "sasl.oauthbearer.jwks.endpoint.url",
        "sasl.oauthbearer.scope",
        "sasl.oauthbearer.scope.claim.name",
        "sasl.oauthbearer.sub.claim.name",
        "sasl.oauthbearer.token.endpoint.url",
        "security.inter.broker.protocol",
        "security.providers",
        "ssl.client.auth",
        "ssl.endpoint.identification.algorithm",
        "ssl.keymanager.algorithm",
        "ssl.keystore.location",
        "ssl.keystore.type",
        "ssl.principal.mapping.rules",
        "ssl.protocol",
        "ssl.provider",
        "ssl.secure.random.implementation",
        "ssl.trustmanager.algorithm",
        "ssl.truststore.location",
        "ssl.truststore.type",
    ]),
    (KafkaType::Int, &[
        "add.partitions.to.txn.retry.backoff.max.ms",
        "add.partitions.to.txn.retry.backoff.ms",
        "alter.log.dirs.replication.quota.window.num",
        "alter.log.dirs.replication.quota.window.size.seconds",
        "background.threads",
        "broker.heartbeat.interval.ms",
        "broker.session.timeout.ms",
        "compression.gzip.level",
        "compression.lz4.level",
        "compression.zstd.level",
        "connection.failed.authentication.delay.ms",
        "controller.quorum.append.linger.ms",
        "controller.quorum.election.backoff.max.ms",
        "controller.quorum.election.timeout.ms",
        "controller.quorum.fetch.max.bytes",
        "controller.quorum.fetch.snapshot.max.bytes",
        "controller.quorum.fetch.timeout.ms",
        "controller.quorum.request.timeout.ms",
        "controller.quorum.retry.backoff.ms",
        "controller.quota.window.num",
        "controller.quota.window.size.seconds",
        "controller.socket.timeout.ms",
        "delete.records.purgatory.purge.interval.requests",
        "fetch.purgatory.purge.interval.requests",
        "group.consumer.assignment.interval.ms",
        "group.consumer.heartbeat.interval.ms",
        "group.consumer.max.assignment.interval.ms",
        "group.consumer.max.heartbeat.interval.ms",
        "group.consumer.max.session.timeout.ms",
        "group.consumer.max.size",
        "group.consumer.min.assignment.interval.ms",
        "group.consumer.min.heartbeat.interval.ms",
        "group.consumer.min.session.timeout.ms",
        "group.consumer.regex.refresh.interval.ms",
        "group.consumer.session.timeout.ms",
        "group.coordinator.append.linger.ms",
        "group.coordinator.background.threads",
        "group.coordinator.cached.buffer.max.bytes",
        "group.coordinator.threads",
        "group.share.assignment.interval.ms",
        "group.share.delivery.count.limit",
        "group.share.heartbeat.interval.ms",
        "group.share.initialize.retry.interval.ms",
        "group.share.max.assignment.interval.ms",
        "group.share.max.delivery.count.limit",
        "group.share.max.heartbeat.interval.ms",
        "group.share.max.partition.max.record.locks",
        "group.share.max.record.lock.duration.ms",
        "group.share.max.session.timeout.ms",
        "group.share.max.share.sessions",
        "group.share.max.size",
        "group.share.min.assignment.interval.ms",
        "group.share.min.delivery.count.limit",
        "group.share.min.heartbeat.interval.ms",
        "group.share.min.partition.max.record.locks",
        "group.share.min.record.lock.duration.ms",
        "group.share.min.session.timeout.ms",
        "group.share.partition.max.record.locks",
        "group.share.record.lock.duration.ms",
        "group.share.session.timeout.ms",
        "group.streams.assignment.interval.ms",
        "group.streams.heartbeat.interval.ms",
        "group.streams.initial.rebalance.delay.ms",
        "group.streams.max.assignment.interval.ms",
        "group.streams.max.heartbeat.interval.ms",
        "group.streams.max.session.timeout.ms",
        "group.streams.max.size",
        "group.streams.max.standby.replicas",
        "group.streams.min.assignment.interval.ms",
        "group.streams.min.heartbeat.interval.ms",
        "group.streams.min.session.timeout.ms",
        "group.streams.num.standby.replicas",
        "group.streams.session.timeout.ms",
        "initial.broker.registration.timeout.ms",
        "internal.metadata.log.segment.bytes",
        "internal.metadata.max.batch.size.in.bytes",
        "kafka.metrics.polling.interval.secs",
        "log.cleaner.io.buffer.size",
        "log.cleaner.threads",
        "log.flush.start.offset.checkpoint.interval.ms",
        "log.roll.jitter.hours",
        "max.connection.creation.rate",
        "max.request.partition.size.limit",
        "metadata.log.segment.bytes",
        "metadata.max.idle.interval.ms",
        "metrics.num.samples",
        "num.io.threads",
        "num.network.threads",
        "num.recovery.threads.per.data.dir",
        "num.replica.alter.log.dirs.threads",
        "num.replica.fetchers",
        "offsets.topic.compression.codec",
        "producer.id.expiration.check.interval.ms",
        "producer.id.expiration.ms",
        "producer.purgatory.purge.interval.requests",
        "queued.max.requests",
        "quota.window.num",
        "quota.window.size.seconds",
        "remote.fetch.max.wait.ms",
        "remote.log.manager.copier.thread.pool.size",
        "remote.log.manager.copy.quota.window.num",
        "remote.log.manager.copy.quota.window.size.seconds",
        "remote.log.manager.expiration.thread.pool.size",
        "remote.log.manager.fetch.quota.window.num",
        "remote.log.manager.fetch.quota.window.size.seconds",
        "remote.log.manager.follower.thread.pool.size",
        "remote.log.manager.thread.pool.size",
        "remote.log.metadata.custom.metadata.max.bytes",
        "remote.log.reader.max.pending.tasks",
        "remote.log.reader.threads",
        "replica.fetch.backoff.ms",
        "replica.fetch.min.bytes",
        "replica.socket.receive.buffer.bytes",
        "replica.socket.timeout.ms",
        "replication.quota.window.num",
        "replication.quota.window.size.seconds",
        "request.timeout.ms",
        "sasl.login.connect.timeout.ms",
        "sasl.login.read.timeout.ms",
        "sasl.oauthbearer.assertion.claim.exp.seconds",
        "sasl.oauthbearer.assertion.claim.nbf.seconds",
        "sasl.oauthbearer.clock.skew.seconds",
        "sasl.server.max.receive.size",
        "share.coordinator.append.linger.ms",
        "share.coordinator.cached.buffer.max.bytes",
        "share.coordinator.cold.partition.snapshot.interval.ms",
        "share.coordinator.load.buffer.size",
        "share.coordinator.snapshot.update.records.per.snapshot",
        "share.coordinator.state.topic.compression.codec",
        "share.coordinator.state.topic.num.partitions",
        "share.coordinator.state.topic.prune.interval.ms",
        "share.coordinator.state.topic.segment.bytes",
        "share.coordinator.threads",
        "share.coordinator.write.timeout.ms",
        "share.fetch.purgatory.purge.interval.requests",
        "telemetry.max.bytes",
        "transaction.abort.timed.out.transaction.cleanup.interval.ms",
        "transaction.max.timeout.ms",
        "transaction.remove.expired.transaction.cleanup.interval.ms",
        "transaction.state.log.load.buffer.size",
        "transaction.state.log.min.isr",
        "transaction.state.log.num.partitions",
        "transaction.state.log.segment.bytes",
        "transactional.id.expiration.ms",
    ]),
    (KafkaType::Short, &[
        "sasl.login.refresh.buffer.seconds",
        "sasl.login.refresh.min.period.seconds",
        "share.coordinator.state.topic.min.isr",
        "share.coordinator.state.topic.replication.factor",
        "transaction.state.log.replication.factor",
    ]),
    (KafkaType::Long, &[
        "connections.max.reauth.ms",
        "controller.performance.always.log.threshold.ms",
        "controller.performance.sample.period.ms",
        "delegation.token.expiry.check.interval.ms",
        "delegation.token.expiry.time.ms",
        "delegation.token.max.lifetime.ms",
        "internal.metadata.delete.delay.millis",
        "leader.imbalance.check.interval.seconds",
        "log.cleaner.backoff.ms",
        "log.cleaner.dedupe.buffer.size",
        "log.cleaner.delete.retention.ms",
        "log.cleaner.max.compaction.lag.ms",
        "log.cleaner.min.compaction.lag.ms",
        "log.dir.failure.timeout.ms",
        "log.flush.interval.messages",
        "log.flush.interval.ms",
        "log.flush.scheduler.interval.ms",
        "log.initial.task.delay.ms",
        "log.local.retention.bytes",
        "log.local.retention.ms",
        "log.roll.jitter.ms",
        "log.segment.delete.delay.ms",
        "metadata.log.max.record.bytes.between.snapshots",
        "metadata.log.max.snapshot.interval.ms",
        "metadata.log.segment.ms",
        "metadata.max.retention.bytes",
        "metadata.max.retention.ms",
        "metrics.sample.window.ms",
        "remote.list.offsets.request.timeout.ms",
        "remote.log.index.file.cache.total.size.bytes",
        "remote.log.index.file.cache.ttl.ms",
        "remote.log.manager.copy.max.bytes.per.second",
        "remote.log.manager.fetch.max.bytes.per.second",
        "remote.log.manager.task.interval.ms",
        "remote.log.manager.task.retry.backoff.max.ms",
        "remote.log.manager.task.retry.backoff.ms",
        "replica.high.watermark.checkpoint.interval.ms",
        "sasl.kerberos.min.time.before.relogin",
        "sasl.login.retry.backoff.max.ms",
        "sasl.login.retry.backoff.ms",
        "sasl.oauthbearer.jwks.endpoint.refresh.ms",
        "sasl.oauthbearer.jwks.endpoint.retry.backoff.max.ms",
        "sasl.oauthbearer.jwks.endpoint.retry.backoff.ms",
        "server.max.startup.time.ms",
        "socket.connection.setup.timeout.max.ms",
        "socket.connection.setup.timeout.ms",
        "unclean.leader.election.interval.ms",
    ]),
    (KafkaType::Double, &[
        "log.cleaner.io.buffer.load.factor",
        "log.cleaner.io.max.bytes.per.second",
        "log.cleaner.min.cleanable.ratio",
        "remote.log.manager.task.retry.jitter",
        "sasl.kerberos.ticket.renew.jitter",
        "sasl.kerberos.ticket.renew.window.factor",
        "sasl.login.refresh.window.factor",
        "sasl.login.refresh.window.jitter",
    ]),
    (KafkaType::List, &[
        "config.providers",
        "cordoned.log.dirs",
        "early.start.listeners",
        "group.consumer.assignors",
        "group.coordinator.rebalance.protocols",
        "group.share.assignors",
        "kafka.metrics.reporters",
        "metric.reporters",
        "sasl.enabled.mechanisms",
        "sasl.kerberos.principal.to.local.rules",
        "sasl.oauthbearer.expected.audience",
        "ssl.cipher.suites",
        "ssl.enabled.protocols",
    ]),
    (KafkaType::Class, &[
        "alter.config.policy.class.name",
        "client.quota.callback.class",
        "create.topic.policy.class.name",
        "principal.builder.class",
        "sasl.client.callback.handler.class",
        "sasl.login.callback.handler.class",
        "sasl.login.class",
        "sasl.oauthbearer.jwt.retriever.class",
        "sasl.oauthbearer.jwt.validator.class",
        "sasl.server.callback.handler.class",
        "ssl.engine.factory.class",
    ]),
    (KafkaType::Password, &[
        "delegation.token.secret.key",
        "sasl.jaas.config",
        "sasl.oauthbearer.assertion.private.key.passphrase",
        "sasl.oauthbearer.client.credentials.client.secret",
        "ssl.key.password",
        "ssl.keystore.certificate.chain",
        "ssl.keystore.key",
        "ssl.keystore.password",
        "ssl.truststore.certificates",
        "ssl.truststore.password",
    ]),
];

/// Beginnings of names: those that are given to one listener, a plugin or a provider of values, and those of
/// older versions.
const BEGINNINGS: &[&str] = &[
    "config.providers.",
    "listener.name.",
    "password.encoder.",
    "rlmm.config.",
    "rsm.config.",
    "zookeeper.",
];

/// The type of a setting that Kafka knows and that has no effect here; that of a beginning is a text.
pub fn ignored(name: &str) -> Option<KafkaType> {
    let known = IGNORED.iter().find(|(_, names)| names.contains(&name)).map(|(kind, _)| *kind);
    known.or_else(|| BEGINNINGS.iter().any(|known| name.starts_with(known)).then_some(KafkaType::String))
}

/// All of them that have a whole name.
pub fn all_ignored() -> impl Iterator<Item = (&'static str, KafkaType)> {
    IGNORED.iter().flat_map(|(kind, names)| names.iter().map(move |name| (*name, *kind)))
}

impl KafkaType {
    /// Its number in DescribeConfigs.
    pub fn code(self) -> i8 {
        match self {
            Self::Boolean => 1,
            Self::String => 2,
            Self::Int => 3,
            Self::Short => 4,
            Self::Long => 5,
            Self::Double => 6,
            Self::List => 7,
            Self::Class => 8,
            Self::Password => 9,
        }
    }

    /// Kafka's name of it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Boolean => "boolean",
            Self::String => "string",
            Self::Int => "int",
            Self::Short => "short",
            Self::Long => "long",
            Self::Double => "double",
            Self::List => "list",
            Self::Class => "class",
            Self::Password => "password",
        }
    }
}

impl From<Kind> for KafkaType {
    fn from(kind: Kind) -> Self {
        match kind {
            Kind::Bool => Self::Boolean,
            Kind::Int(..) => Self::Int,
            Kind::Short(..) => Self::Short,
            Kind::Long(..) => Self::Long,
            Kind::Text | Kind::Choice(_) => Self::String,
            Kind::List => Self::List,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_setting_is_both_heeded_and_ignored() {
        for setting in super::super::SETTINGS {
            assert_eq!(ignored(setting.name), None, "{}", setting.name);
        }
    }

    #[test]
    fn names_stand_in_order_and_match_whole_or_by_their_beginning() {
        assert!(IGNORED.iter().all(|(_, names)| names.is_sorted()));
        assert_eq!(ignored("share.coordinator.state.topic.min.isr"), Some(KafkaType::Short));
        assert_eq!(ignored("listener.name.internal.ssl.keystore.location"), Some(KafkaType::String));
        for unknown in ["offsets", "num.io.threads.x", "log.cleaner.thread", "nonsense"] {
            assert_eq!(ignored(unknown), None, "{unknown}");
        }
    }
}
