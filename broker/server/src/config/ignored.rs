//! Kafka 4's settings that have no effect here: known, so that a file which sets one still starts.
//!
//! Each that is set is named in the one warning about such settings.

/// Names of settings, and beginnings of names (those that end in a dot).
const IGNORED: &[&str] = &[
    "add.partitions.to.txn.",
    "alter.config.policy.class.name",
    "alter.log.dirs.",
    "authorizer.class.name",
    "auto.include.jmx.reporter",
    "auto.leader.rebalance.enable",
    "background.threads",
    "broker.heartbeat.interval.ms",
    "broker.session.timeout.ms",
    "client.quota.",
    "compression.gzip.level",
    "compression.lz4.level",
    "compression.type",
    "compression.zstd.level",
    "config.providers",
    "connection.failed.authentication.delay.ms",
    "connections.max.reauth.ms",
    "controlled.shutdown.",
    "controller.performance.",
    "controller.quorum.append.linger.ms",
    "controller.quorum.auto.join.enable",
    "controller.quorum.election.",
    "controller.quorum.fetch.",
    "controller.quorum.request.timeout.ms",
    "controller.quorum.retry.backoff.ms",
    "controller.quota.",
    "controller.socket.timeout.ms",
    "create.topic.policy.class.name",
    "delegation.token.",
    "early.start.listeners",
    "eligible.leader.replicas.enable",
    "errors.",
    "fetch.purgatory.purge.interval.requests",
    "follower.fetch.",
    "group.",
    "initial.broker.registration.timeout.ms",
    "internal.",
    "kafka.metrics.",
    "leader.imbalance.",
    "listener.name.",
    "log.cleaner.",
    "log.deletion.",
    "log.dir.failure.timeout.ms",
    "log.flush.interval.",
    "log.flush.scheduler.interval.ms",
    "log.flush.start.offset.checkpoint.interval.ms",
    "log.initial.task.delay.ms",
    "log.local.retention.",
    "log.message.downconversion.enable",
    "log.preallocate",
    "log.roll.jitter.",
    "log.segment.delete.delay.ms",
    "max.connection.creation.rate",
    "max.connections.per.ip.overrides",
    "max.request.partition.size.limit",
    "metadata.log.",
    "metadata.max.",
    "metric.reporters",
    "metrics.",
    "num.io.threads",
    "num.network.threads",
    "num.quota.samples",
    "num.recovery.threads.per.data.dir",
    "num.replica.",
    "offset.metadata.max.bytes",
    "offsets.",
    "password.encoder.",
    "principal.builder.class",
    "producer.id.",
    "producer.purgatory.purge.interval.requests",
    "queued.max.requests",
    "quota.",
    "remote.",
    "replica.alter.log.dirs.",
    "replica.fetch.backoff.ms",
    "replica.fetch.min.bytes",
    "replica.high.watermark.",
    "replica.socket.",
    "replication.quota.",
    "request.timeout.ms",
    "reserved.broker.max.id",
    "sasl.",
    "security.",
    "server.max.startup.time.ms",
    "share.",
    "socket.connection.setup.timeout.",
    "ssl.",
    "telemetry.",
    "transaction.",
    "transactional.id.",
    "unclean.leader.election.",
    "unstable.",
    "zookeeper.",
];

/// Whether Kafka knows a setting of this name that has no effect here.
pub fn is_ignored(name: &str) -> bool {
    IGNORED.iter().any(|known| if known.ends_with('.') { name.starts_with(known) } else { name == *known })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_setting_is_both_heeded_and_ignored() {
        for setting in super::super::SETTINGS {
            assert!(!is_ignored(setting.name), "{}", setting.name);
        }
    }

    #[test]
    fn names_match_whole_or_by_their_beginning() {
        assert!(is_ignored("offsets.topic.replication.factor") && is_ignored("num.io.threads"));
        assert!(!is_ignored("offsets") && !is_ignored("num.io.threads.x") && !is_ignored("nonsense"));
    }
}
