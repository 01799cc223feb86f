//! The whole configuration of one broker, in types.

use std::path::PathBuf;
use std::time::Duration;

use ottla_core::config::BrokerDefaults;
use ottla_types::{BrokerId, ClusterId};

use super::groups::GroupSettings;
use super::listeners::{HostPort, Listeners, Voter, bootstrap_servers, voters};
use super::source::{ConfigError, Sources, Values};

/// What a node does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Roles {
    /// It serves partitions.
    pub broker: bool,
    /// It votes in the metadata quorum.
    pub controller: bool,
}

/// Limits of connections and requests.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ConnectionLimits {
    /// The largest request, in bytes.
    pub request_bytes_max: usize,
    /// What all requests in flight may hold together, in bytes; at least `request_bytes_max`.
    pub queued_bytes_max: usize,
    /// Connections in all.
    pub connections_max: usize,
    /// Connections from one address; none: as many as leave room for others.
    pub connections_per_address_max: Option<usize>,
    /// How long a connection may be without a request; none: for ever.
    pub idle_max: Option<Duration>,
    /// Connections that may wait to be accepted.
    pub backlog: i32,
    /// The send buffer of a connection, in bytes; none: the system's choice.
    pub send_buffer_bytes: Option<usize>,
    /// The receive buffer of a connection, in bytes; none: the system's choice.
    pub receive_buffer_bytes: Option<usize>,
}

impl ConnectionLimits {
    /// What fetch sessions may take, and the same for requests that wait: a quarter of what requests may
    /// hold.
    pub fn kept_bytes_max(&self) -> usize {
        self.queued_bytes_max / 4
    }

    /// What it may take to serve one request, in bytes, its frame not counted: half of what all may hold.
    pub fn request_cost_max(&self) -> usize {
        const LEAST: usize = 1 << 20;
        (self.queued_bytes_max / 2).max(LEAST)
    }
}

/// Limits of Fetch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FetchLimits {
    /// The most record bytes in one response.
    pub response_bytes_max: usize,
    /// Sessions that are kept.
    pub sessions_max: usize,
}

/// How this broker follows others, and when others follow too slowly.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Replication {
    /// A follower that hasn't had everything for so long isn't in sync any more. Kafka's 30 s are for
    /// followers that fetch from the page cache at leisure; here a lagging one holds up every acks=all, so 3
    /// s is already long.
    pub lag_max: Duration,
    /// How long a follower's fetch waits for something new.
    pub fetch_wait_max: Duration,
    /// The most bytes of one partition in a follower's fetch.
    pub partition_bytes_max: i32,
    /// The most bytes of a follower's fetch.
    pub response_bytes_max: i32,
    /// Whether consumers that name their rack are sent to a replica there.
    pub reads_by_rack: bool,
}

/// What a topic gets if it doesn't say.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TopicDefaults {
    /// Whether a topic is created when a client asks for one that isn't there.
    pub auto_create: bool,
    /// Whether Kafka's clients may delete topics.
    pub delete_enabled: bool,
    /// Partitions of a topic that is created without saying how many.
    pub partitions: i32,
    /// Replicas of a topic that is created without saying how many, if that is configured.
    pub replication_factor: Option<i16>,
    /// What topics have that don't set it themselves.
    pub defaults: BrokerDefaults,
}

/// How log lines are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogFormat {
    /// For people.
    Text,
    /// One JSON object a line.
    Json,
}

/// The configuration of one broker.
#[derive(Debug, Clone)]
pub struct Config {
    /// The id of this node.
    pub node_id: BrokerId,
    /// What it does.
    pub roles: Roles,
    /// Its rack.
    pub rack: Option<String>,
    /// The id that the cluster must have.
    pub cluster_id: Option<ClusterId>,
    /// The data folder.
    pub data_dir: PathBuf,
    /// Where it listens.
    pub listeners: Listeners,
    /// The voters of the quorum, if they are listed.
    pub voters: Vec<Voter>,
    /// Where the quorum is found, if it is.
    pub bootstrap_servers: Vec<HostPort>,
    /// Limits of connections and requests.
    pub connections: ConnectionLimits,
    /// Limits of Fetch.
    pub fetch: FetchLimits,
    /// How this broker follows others.
    pub replication: Replication,
    /// What a topic gets if it doesn't say.
    pub topics: TopicDefaults,
    /// What consumer groups are configured with.
    pub groups: GroupSettings,
    /// How often segments are looked over for deletion.
    pub retention_check_interval: Duration,
    /// How often it is written down how far the logs are synced.
    pub checkpoint_interval: Duration,
    /// Where the HTTP listener is, if there is one.
    pub http: Option<HostPort>,
    /// What is logged.
    pub log_filter: String,
    /// How it is written.
    pub log_format: LogFormat,
    /// Threads that serve connections; 0: one a core.
    pub worker_threads: usize,
    /// All settings as they were given, for DescribeConfigs and the warning.
    pub values: Values,
}

impl Config {
    /// Makes the configuration from its sources; `host_name` is told to clients of listeners on all
    /// interfaces.
    ///
    /// # Errors
    /// When a source can't be parsed or a value isn't allowed; the error says which, and what is.
    pub fn new(sources: &Sources, host_name: &str) -> Result<Self, ConfigError> {
        let values = Values::collect(sources)?;
        Ok(Self {
            node_id: node_id(&values)?,
            roles: roles(&values)?,
            rack: some_text(&values, "broker.rack"),
            cluster_id: cluster_id(&values)?,
            data_dir: data_dir(&values)?,
            listeners: Listeners::from_values(&values, host_name)?,
            voters: voters(&values)?,
            bootstrap_servers: bootstrap_servers(&values)?,
            connections: connection_limits(&values)?,
            fetch: FetchLimits {
                response_bytes_max: values.number_of("fetch.max.bytes"),
                sessions_max: values.number_of("max.incremental.fetch.session.cache.slots"),
            },
            replication: replication(&values),
            topics: topic_defaults(&values)?,
            groups: GroupSettings::from_values(&values)?,
            retention_check_interval: milliseconds(values.number_set("log.retention.check.interval.ms")),
            checkpoint_interval: milliseconds(
                values.number_set("log.flush.offset.checkpoint.interval.ms").max(1),
            ),
            http: http(&values)?,
            log_filter: values.text("ottla.log.filter").to_owned(),
            log_format: match values.text("ottla.log.format") {
                "json" => LogFormat::Json,
                _ => LogFormat::Text,
            },
            worker_threads: values.number_of("ottla.worker.threads"),
            values,
        })
    }

    /// The one warning about settings that were given and have no effect here, if there are any.
    pub fn warning(&self) -> Option<String> {
        let (ignored, unknown) = self.values.without_effect();
        let mut parts = Vec::new();
        if !ignored.is_empty() {
            parts.push(format!("settings without effect here: {}", ignored.join(", ")));
        }
        if !unknown.is_empty() {
            parts.push(format!("unknown settings: {}", unknown.join(", ")));
        }
        (!parts.is_empty()).then(|| parts.join("; "))
    }
}

fn milliseconds(ms: i64) -> Duration {
    Duration::from_millis(ms.unsigned_abs())
}

fn some_text(values: &Values, key: &str) -> Option<String> {
    Some(values.text(key)).filter(|text| !text.is_empty()).map(str::to_owned)
}

fn node_id(values: &Values) -> Result<BrokerId, ConfigError> {
    let (id, old): (i32, i32) = (values.number_of("node.id"), values.number_of("broker.id"));
    let id = if old >= 0 && !values.is_given("node.id") { old } else { id };
    if old >= 0 && old != id {
        return Err(values.wrong("broker.id", format!("the same as node.id, {id}")));
    }
    Ok(BrokerId(id))
}

fn roles(values: &Values) -> Result<Roles, ConfigError> {
    const KEY: &str = "process.roles";
    let names = values.list(KEY);
    let roles = Roles {
        broker: names.iter().any(|name| name == "broker"),
        controller: names.iter().any(|name| name == "controller"),
    };
    if names.iter().any(|name| name != "broker" && name != "controller") || !roles.broker {
        return Err(
            values.wrong(KEY, "broker, or broker and controller (a controller alone is not supported yet)")
        );
    }
    Ok(roles)
}

fn cluster_id(values: &Values) -> Result<Option<ClusterId>, ConfigError> {
    let text = values.text("cluster.id");
    if text.is_empty() {
        return Ok(None);
    }
    text.parse().map(Some).map_err(|_| values.wrong("cluster.id", "22 characters of base64url"))
}

fn data_dir(values: &Values) -> Result<PathBuf, ConfigError> {
    match values.list("log.dirs") {
        [] => Ok(PathBuf::from(values.text("log.dir"))),
        [one] => Ok(PathBuf::from(one)),
        _ => Err(values.wrong("log.dirs", "one folder (several a broker are not supported yet)")),
    }
}

fn connection_limits(values: &Values) -> Result<ConnectionLimits, ConfigError> {
    const QUEUED: &str = "queued.max.request.bytes";
    const QUEUED_DEFAULT: usize = 256 << 20;
    let request_bytes_max = values.number_of("socket.request.max.bytes");
    let queued = values.number_set(QUEUED).min(i64::from(u32::MAX));
    let queued = usize::try_from(queued).ok().filter(|bytes| *bytes > 0);
    // What was not set follows a larger request size by itself.
    let fallback = QUEUED_DEFAULT.max(request_bytes_max);
    let queued_bytes_max = queued.filter(|_| values.is_given(QUEUED)).unwrap_or(fallback);
    if queued_bytes_max < request_bytes_max {
        let allowed = format!("at least socket.request.max.bytes, which is {request_bytes_max}");
        return Err(values.wrong(QUEUED, allowed));
    }
    let buffer = |key| usize::try_from(values.number_set(key)).ok();
    let idle_ms = values.number_set("connections.max.idle.ms");
    Ok(ConnectionLimits {
        request_bytes_max,
        queued_bytes_max,
        connections_max: values.number_of("max.connections"),
        connections_per_address_max: values
            .is_given("max.connections.per.ip")
            .then(|| values.number_of("max.connections.per.ip")),
        idle_max: (idle_ms >= 0).then(|| milliseconds(idle_ms)),
        backlog: values.number_of("socket.listen.backlog.size"),
        send_buffer_bytes: buffer("socket.send.buffer.bytes"),
        receive_buffer_bytes: buffer("socket.receive.buffer.bytes"),
    })
}

fn replication(values: &Values) -> Replication {
    Replication {
        lag_max: milliseconds(values.number_set("replica.lag.time.max.ms")),
        fetch_wait_max: milliseconds(values.number_set("replica.fetch.wait.max.ms").max(1)),
        partition_bytes_max: values.number_of("replica.fetch.max.bytes"),
        // With none the leader would have no place for the first batch either.
        response_bytes_max: values.number_of::<i32>("replica.fetch.response.max.bytes").max(1),
        reads_by_rack: values.text("replica.selector.class").ends_with("RackAwareReplicaSelector"),
    }
}

fn topic_defaults(values: &Values) -> Result<TopicDefaults, ConfigError> {
    let retention = ["log.retention.ms", "log.retention.minutes", "log.retention.hours"];
    if let Some(name) =
        retention.iter().find(|name| values.is_given(name)).filter(|name| values.number(name) == Some(0))
    {
        return Err(values.wrong(name, "at least 1, or less than 0 for ever"));
    }
    let defaults = BrokerDefaults::from_settings(|name| values.given_text(name).map(str::to_owned)).map_err(
        |error| values.wrong(&error.name, format!("a value that topics may have: {}", error.reason)),
    )?;
    Ok(TopicDefaults {
        auto_create: values.switch("auto.create.topics.enable"),
        delete_enabled: values.switch("delete.topic.enable"),
        partitions: values.number_of("num.partitions"),
        replication_factor: values
            .number("default.replication.factor")
            .map(|_| values.number_of("default.replication.factor")),
        defaults,
    })
}

fn http(values: &Values) -> Result<Option<HostPort>, ConfigError> {
    const KEY: &str = "ottla.http.listener";
    let text = values.text(KEY);
    if text == "none" {
        return Ok(None);
    }
    HostPort::parse(text).map(Some).ok_or_else(|| values.wrong(KEY, "host:port, or none"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(file: &str) -> Result<Config, ConfigError> {
        let file = Some(("s.properties".into(), file.to_owned()));
        Config::new(&Sources { file, ..Sources::default() }, "thishost")
    }

    #[track_caller]
    fn check_refused(file: &str, part: &str) {
        let message = config(file).unwrap_err().to_string();
        assert!(message.contains(part), "{message}");
    }

    /// The settings of the file that Apache Kafka 4 ships, without its comments.
    const SHIPPED: &str = "process.roles=broker,controller\nnode.id=1\n\
        controller.quorum.bootstrap.servers=localhost:9093\n\
        listeners=PLAINTEXT://:9092,CONTROLLER://:9093\ninter.broker.listener.name=PLAINTEXT\n\
        advertised.listeners=PLAINTEXT://localhost:9092,CONTROLLER://localhost:9093\n\
        controller.listener.names=CONTROLLER\n\
        listener.security.protocol.map=CONTROLLER:PLAINTEXT,PLAINTEXT:PLAINTEXT,SSL:SSL,\
        SASL_PLAINTEXT:SASL_PLAINTEXT,SASL_SSL:SASL_SSL\n\
        num.network.threads=3\nnum.io.threads=8\nsocket.send.buffer.bytes=102400\n\
        socket.receive.buffer.bytes=102400\nsocket.request.max.bytes=104857600\n\
        log.dirs=/tmp/kraft-combined-logs\nnum.partitions=1\nnum.recovery.threads.per.data.dir=1\n\
        offsets.topic.replication.factor=1\nshare.coordinator.state.topic.replication.factor=1\n\
        share.coordinator.state.topic.min.isr=1\ntransaction.state.log.replication.factor=1\n\
        transaction.state.log.min.isr=1\nlog.retention.hours=168\nlog.segment.bytes=1073741824\n\
        log.retention.check.interval.ms=300000\n";

    #[test]
    fn kafkas_own_file_is_taken_as_it_is() {
        let config = config(SHIPPED).unwrap();
        assert_eq!(config.node_id, BrokerId(1));
        assert_eq!(config.roles, Roles { broker: true, controller: true });
        assert_eq!(config.data_dir, PathBuf::from("/tmp/kraft-combined-logs"));
        assert_eq!(config.bootstrap_servers[0].to_string(), "localhost:9093");
        assert_eq!(config.topics.defaults.get("retention.ms"), Some(("log.retention.hours", "604800000")));
        let warning = config.warning().unwrap();
        assert!(warning.starts_with("settings without effect here: num.io.threads, num.network.threads, "));
        assert!(!warning.contains("unknown"), "{warning}");
    }

    #[test]
    fn without_a_file_it_is_one_node_on_localhost() {
        let config = Config::new(&Sources::default(), "thishost").unwrap();
        assert_eq!(config.listeners.clients[0].bind.to_string(), "localhost:9092");
        assert_eq!(config.warning(), None);
        assert!(config.voters.is_empty() && config.bootstrap_servers.is_empty());
    }

    #[test]
    fn finer_units_go_before_coarser_ones() {
        let retention =
            |file| config(file).unwrap().topics.defaults.get("retention.ms").unwrap().1.to_owned();
        assert_eq!(retention("log.retention.hours=1"), "3600000");
        assert_eq!(retention("log.retention.hours=1\nlog.retention.minutes=2"), "120000");
        assert_eq!(retention("log.retention.minutes=2\nlog.retention.ms=3"), "3");
        assert_eq!(retention("log.retention.hours=-1"), "-1");
    }

    #[test]
    fn settings_that_contradict_each_other_are_refused() {
        check_refused("node.id=1\nbroker.id=2", "s.properties:2: broker.id=2");
        check_refused("process.roles=controller", "a controller alone is not supported yet");
        check_refused("log.dirs=/a,/b", "one folder");
        check_refused(
            "queued.max.request.bytes=2000",
            "at least socket.request.max.bytes, which is 104857600",
        );
        check_refused("log.retention.hours=0", "at least 1, or less than 0 for ever");
        check_refused(
            "log.retention.minutes=0\nlog.retention.hours=5",
            "at least 1, or less than 0 for ever",
        );
        check_refused("cluster.id=x", "22 characters of base64url");
        check_refused("controller.quorum.voters=1:localhost:9093", "a list of id@host:port");
        check_refused("controller.quorum.voters=1@a:1,2@b:1,1@c:1", "each voter once: 1 is there twice");
        check_refused("authorizer.class.name=org.apache.kafka.Any", "access control is not supported yet");
        check_refused("log.cleanup.policy=keep", "a value that topics may have: use one of delete, compact");
    }

    #[test]
    fn what_has_no_effect_keeps_nobody_from_starting() {
        let warning =
            config("unclean.leader.election.enable=true\nnum.io.threads=0\nno.such=1").unwrap().warning();
        let expected = "settings without effect here: num.io.threads, unclean.leader.election.enable; unknown settings: no.such";
        assert_eq!(warning.as_deref(), Some(expected));
        check_refused("unclean.leader.election.enable=maybe", "true or false");
    }

    #[test]
    fn a_file_of_any_bytes_is_read_as_java_reads_it() {
        let config = config(&super::super::text(b"# caf\xe9\nbroker.rack=\xe9\\u20ac\n")).unwrap();
        assert_eq!(config.rack.as_deref(), Some("\u{e9}\u{20ac}"));
    }

    #[test]
    fn small_and_large_numbers_are_taken_as_apache_kafka_takes_them() {
        let config = config(
            "replica.fetch.max.bytes=1\nreplica.fetch.response.max.bytes=0\nmax.connections=0\n\
             log.retention.hours=-2\nlog.retention.bytes=-9\nqueued.max.request.bytes=9223372036854775807\n\
             replica.fetch.wait.max.ms=-1\nlog.flush.offset.checkpoint.interval.ms=0\nsocket.request.max.bytes=1",
        )
        .unwrap();
        let replication = &config.replication;
        assert_eq!((replication.partition_bytes_max, replication.response_bytes_max), (1, 1));
        assert_eq!(config.replication.fetch_wait_max, Duration::from_millis(1));
        assert_eq!(config.checkpoint_interval, Duration::from_millis(1));
        assert_eq!(config.connections.queued_bytes_max, u32::MAX as usize);
        assert_eq!(config.topics.defaults.get("retention.ms"), Some(("log.retention.hours", "-1")));
        assert_eq!(
            super::tests::config("queued.max.request.bytes=0").unwrap().connections.queued_bytes_max,
            256 << 20
        );
    }

    #[test]
    fn broker_id_stands_in_for_node_id() {
        assert_eq!(config("broker.id=7").unwrap().node_id, BrokerId(7));
    }
}
