//! Apache Kafka's own settings, each with ordinary and boundary values, through start, change and
//! description.

use std::collections::BTreeMap;

use ottla_server::config::{Config, Sources, setting};
use ottla_wire::messages::*;
use ottla_wire::{ErrorCode, apis};

use crate::client::Client;
use crate::harness::TestBroker;

/// One of them; a fact about Apache Kafka 4.3.1.
struct Fact {
    scope: &'static str,
    name: &'static str,
    kind: &'static str,
    default: Option<&'static str>,
    least: Option<&'static str>,
    most: Option<&'static str>,
}

fn facts() -> impl Iterator<Item = Fact> {
    let lines = include_str!("kafka_settings.tsv").lines().filter(|line| !line.starts_with('#'));
    lines.map(|line| {
        let columns: Vec<&str> = line.split('\t').collect();
        let [scope, name, kind, default, least, most] = columns[..] else { panic!("{line}") };
        let some = |text: &'static str| Some(text).filter(|text| *text != "-");
        Fact { scope, name, kind, default: some(default), least: some(least), most: some(most) }
    })
}

impl Fact {
    /// Its default, and the least and the most that Kafka takes.
    fn values(&self) -> Vec<&'static str> {
        let (least, most) = match self.kind {
            "boolean" => ("false", "true"),
            "int" => (self.least.unwrap_or("-1"), self.most.unwrap_or("2147483647")),
            "long" => (self.least.unwrap_or("-1"), self.most.unwrap_or("9223372036854775807")),
            "short" => (self.least.unwrap_or("-1"), self.most.unwrap_or("32767")),
            "double" => (self.least.unwrap_or("0.0"), self.most.unwrap_or("1.0")),
            _ => return self.default.into_iter().collect(),
        };
        self.default.into_iter().chain([least, most]).collect()
    }
}

/// What is refused although Kafka's own limits allow it. The reason of each stands on the reference page.
const REFUSED: &[(&str, &str, &str)] = &[
    ("default.replication.factor", "-1", "from 1 to 7"),
    ("default.replication.factor", "2147483647", "More than 7 are refused"),
    ("group.max.session.timeout.ms", "-1", "Less than group.min.session.timeout.ms is refused"),
    ("group.min.session.timeout.ms", "2147483647", "More than group.max.session.timeout.ms is refused"),
    ("log.roll.ms", "-1", "at least 1"),
    ("offsets.topic.num.partitions", "2147483647", "More than 10,000 are refused"),
    ("offsets.topic.replication.factor", "32767", "More than 7 are refused"),
    ("offsets.topic.segment.bytes", "1", "at least 14"),
    ("replica.lag.time.max.ms", "-1", "at least 1"),
];

#[test]
fn every_setting_is_taken_or_refused_for_a_reason_that_is_written_down() {
    let mut refused = Vec::new();
    for fact in facts().filter(|fact| fact.scope == "broker") {
        for value in fact.values() {
            let overrides = vec![format!("{}={value}", fact.name)];
            if let Err(error) = Config::new(&Sources { overrides, ..Sources::default() }, "localhost") {
                refused.push((fact.name, value, error.to_string()));
            }
        }
    }
    let found: Vec<_> = refused.iter().map(|(name, value, _)| (*name, *value)).collect();
    let known: Vec<_> = REFUSED.iter().map(|(name, value, _)| (*name, *value)).collect();
    assert_eq!(found, known, "{refused:#?}");
    for (name, _, reason) in REFUSED {
        let setting = setting(name).expect("what has no effect is never refused");
        let page = format!("{} {}", setting.kind, setting.doc);
        assert!(page.contains(reason), "{name}: {reason:?} isn't in {page:?}");
    }
}

/// The settings of one topic or broker as DescribeConfigs tells them, by name.
async fn described(
    client: &mut Client,
    resource_type: i8,
    resource_name: &str,
    configuration_keys: Option<Vec<&str>>,
) -> BTreeMap<String, DescribeConfigsResourceResult<'static>> {
    let resource = DescribeConfigsResource { resource_type, resource_name, configuration_keys };
    let request =
        DescribeConfigsRequest { resources: vec![resource], include_synonyms: true, ..Default::default() };
    let answer = client.call::<apis::DescribeConfigs>(4, &request).await;
    let result = &answer.decode::<apis::DescribeConfigs>().results[0];
    assert_eq!(result.error_code, 0, "{:?}", result.error_message);
    let owned = |config: &DescribeConfigsResourceResult<'_>| {
        let synonym = |synonym: &DescribeConfigsSynonym<'_>| DescribeConfigsSynonym {
            name: synonym.name.to_string().into(),
            value: synonym.value.as_ref().map(|value| value.to_string().into()),
            source: synonym.source,
        };
        DescribeConfigsResourceResult {
            name: config.name.to_string().into(),
            value: config.value.as_ref().map(|value| value.to_string().into()),
            read_only: config.read_only,
            config_source: config.config_source,
            is_sensitive: config.is_sensitive,
            synonyms: config.synonyms.iter().map(synonym).collect(),
            config_type: config.config_type,
            documentation: None,
        }
    };
    result.configs.iter().map(|config| (config.name.to_string(), owned(config))).collect()
}

/// A broker whose file sets everything that Kafka knows, but for where it is and whom it belongs to.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_setting_of_a_file_is_described_as_it_was_given() {
    let own = ["listeners", "log.dir", "node.id", "process.roles", "controller.listener.names", "broker.id"];
    let given: Vec<_> = facts()
        .filter(|fact| fact.scope == "broker" && !own.contains(&fact.name))
        .filter_map(|fact| {
            Some((fact.name, fact.kind, fact.default.or((fact.kind == "password").then_some("secret"))?))
        })
        .collect();
    let overrides: Vec<String> = given.iter().map(|(name, _, value)| format!("{name}={value}")).collect();
    let overrides: Vec<&str> = overrides.iter().map(String::as_str).collect();
    let broker = TestBroker::start(&overrides).await;
    let mut client = broker.connect().await;
    client.create_topic("t", 1, &[]).await;
    let told = described(&mut client, RESOURCE_BROKER, "1", None).await;
    let types = ["", "boolean", "string", "int", "short", "long", "double", "list", "class", "password"];
    for (name, kind, value) in given {
        let config = told.get(name).unwrap_or_else(|| panic!("{name} is not told"));
        if name.contains("password") || kind == "password" {
            assert!(config.is_sensitive && config.value.is_none(), "{name} is a secret");
        } else {
            let same = |told: &str| told == value || told.parse::<f64>().ok() == value.parse::<f64>().ok();
            assert!(config.value.as_deref().is_some_and(same), "{name}: {:?}, not {value}", config.value);
        }
        // Kafka has the names of listeners' protocols as one text.
        let kind = if name == "listener.security.protocol.map" { "list" } else { kind };
        assert_eq!(types[usize::try_from(config.config_type).unwrap()], kind, "{name}");
        assert_eq!(config.config_source, 4, "{name}");
    }
    broker.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_configuration_of_topics_is_taken_at_its_limits() {
    let broker = TestBroker::start(&[]).await;
    let mut client = broker.connect().await;
    // What only administrators may do here, and what there is none of.
    let refused = [("unclean.leader.election.enable", "true"), ("remote.storage.enable", "true")];
    for fact in facts().filter(|fact| fact.scope == "topic") {
        for (number, value) in fact.values().into_iter().enumerate() {
            let topic = format!("{}-{number}", fact.name);
            if refused.contains(&(fact.name, value)) || (fact.name, value) == ("internal.segment.bytes", "-1")
            {
                continue;
            }
            client.create_topic(&topic, 1, &[(fact.name, value)]).await;
            let keys = Some(vec![fact.name]);
            let told = described(&mut client, RESOURCE_TOPIC, &topic, keys).await;
            let config = &told[fact.name];
            let same = |told: &str| told == value || told.parse::<f64>().ok() == value.parse::<f64>().ok();
            assert!(
                config.value.as_deref().is_some_and(same),
                "{}: {:?}, not {value}",
                fact.name,
                config.value
            );
            assert_eq!((told.len(), config.config_source), (1, 1));
        }
    }
    broker.stop().await;
}

async fn alter(
    client: &mut Client,
    of: (i8, &str),
    name: &str,
    operation: i8,
    value: Option<&str>,
) -> ErrorCode {
    let (resource_type, resource_name) = of;
    let configs = vec![IncrementalAlterConfig { name, config_operation: operation, value }];
    let resource = IncrementalAlterConfigsResource { resource_type, resource_name, configs };
    let request = IncrementalAlterConfigsRequest { resources: vec![resource], validate_only: false };
    let answer = client.call::<apis::IncrementalAlterConfigs>(1, &request).await;
    ErrorCode::from_wire(answer.decode::<apis::IncrementalAlterConfigs>().responses[0].error_code)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_is_asked_of_what_is_not_there() {
    let broker = TestBroker::start(&[]).await;
    let mut client = broker.connect().await;
    client.create_topic("t", 1, &[]).await;
    let (topic, one, all) = ((RESOURCE_TOPIC, "t"), (RESOURCE_BROKER, "1"), (RESOURCE_BROKER, ""));
    for of in [topic, one, all] {
        assert_eq!(alter(&mut client, of, "no.such", CONFIG_DELETE, None).await, ErrorCode::None, "{of:?}");
        assert_eq!(alter(&mut client, of, "no.such", CONFIG_SET, Some("1")).await, ErrorCode::InvalidConfig);
    }
    assert_eq!(alter(&mut client, topic, "retention.ms", CONFIG_DELETE, None).await, ErrorCode::None);
    let policy = "cleanup.policy";
    assert_eq!(alter(&mut client, topic, policy, CONFIG_SUBTRACT, Some("delete")).await, ErrorCode::None);
    let keys = Some(vec![policy]);
    assert_eq!(described(&mut client, topic.0, "t", keys).await[policy].value.as_deref(), Some(""));
    // No keys are all of them.
    for (kind, name) in [topic, one] {
        let (none, empty) = (
            described(&mut client, kind, name, None).await,
            described(&mut client, kind, name, Some(vec![])).await,
        );
        assert!(none.len() > 30 && none.keys().eq(empty.keys()), "{} and {}", none.len(), empty.len());
    }
    let without = CreatableTopic {
        name: "u",
        num_partitions: 1,
        replication_factor: 1,
        configs: vec![NamedConfig { name: "retention.ms", value: None }],
        ..Default::default()
    };
    let request = CreateTopicsRequest { topics: vec![without], ..Default::default() };
    let answer = client.call::<apis::CreateTopics>(7, &request).await;
    let error = answer.decode::<apis::CreateTopics>().topics[0].error_code;
    assert_eq!(ErrorCode::from_wire(error), ErrorCode::InvalidConfig);
    broker.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn brokers_are_given_other_defaults_while_they_run() {
    let broker = TestBroker::start(&["log.retention.hours=2", "log.segment.bytes=5000000"]).await;
    let mut client = broker.connect().await;
    client.create_topic("t", 1, &[("segment.bytes", "3000000")]).await;
    let (one, all) = ((RESOURCE_BROKER, "1"), (RESOURCE_BROKER, ""));
    assert_eq!(alter(&mut client, all, "log.retention.ms", CONFIG_SET, Some("7000")).await, ErrorCode::None);
    assert_eq!(alter(&mut client, one, "log.retention.ms", CONFIG_SET, Some("9000")).await, ErrorCode::None);
    assert_eq!(
        alter(&mut client, one, "log.segment.bytes", CONFIG_SET, Some("4000000")).await,
        ErrorCode::None
    );
    for (name, value) in [("log.retention.hours", "1"), ("node.id", "2"), ("log.retention.ms", "soon")] {
        assert_eq!(
            alter(&mut client, one, name, CONFIG_SET, Some(value)).await,
            ErrorCode::InvalidConfig,
            "{name}"
        );
    }
    let min = "min.insync.replicas";
    assert_eq!(
        alter(&mut client, one, min, CONFIG_SET, Some("1")).await,
        ErrorCode::InvalidConfig,
        "it is the cluster's"
    );
    assert_eq!(alter(&mut client, all, min, CONFIG_SET, Some("1")).await, ErrorCode::None);
    check_defaults(&mut client).await;
    // They are in the metadata, so they outlast the process.
    let broker = broker.restart().await;
    let mut client = broker.connect().await;
    check_defaults(&mut client).await;
    assert_eq!(alter(&mut client, one, "log.retention.ms", CONFIG_DELETE, None).await, ErrorCode::None);
    let told = described(&mut client, RESOURCE_TOPIC, "t", None).await;
    assert_eq!(told["retention.ms"].value.as_deref(), Some("7000"), "that of all brokers");
    broker.stop().await;
}

async fn check_defaults(client: &mut Client) {
    let sources = |config: &DescribeConfigsResourceResult<'_>| {
        let one = |s: &DescribeConfigsSynonym<'_>| {
            format!("{}={}:{}", s.name, s.value.as_deref().unwrap_or("-"), s.source)
        };
        config.synonyms.iter().map(one).collect::<Vec<_>>().join(" ")
    };
    let of_topic = described(client, RESOURCE_TOPIC, "t", None).await;
    assert_eq!(
        sources(&of_topic["retention.ms"]),
        "log.retention.ms=9000:2 log.retention.ms=7000:3 log.retention.hours=7200000:4 log.retention.ms=604800000:5"
    );
    assert_eq!(
        sources(&of_topic["segment.bytes"]),
        "segment.bytes=3000000:1 log.segment.bytes=4000000:2 log.segment.bytes=5000000:4 log.segment.bytes=1073741824:5"
    );
    let of_broker = described(client, RESOURCE_BROKER, "1", None).await;
    assert_eq!(sources(&of_broker["log.retention.ms"]), "log.retention.ms=9000:2 log.retention.ms=7000:3");
    assert_eq!(
        sources(&of_broker["log.segment.bytes"]),
        "log.segment.bytes=4000000:2 log.segment.bytes=5000000:4 log.segment.bytes=1073741824:5"
    );
    let is_fixed = |name: &str| of_broker[name].read_only;
    assert!(is_fixed("node.id") && is_fixed("log.retention.hours") && !is_fixed("log.segment.bytes"));
    let of_all = described(client, RESOURCE_BROKER, "", None).await;
    assert_eq!(of_all.keys().collect::<Vec<_>>(), ["log.retention.ms", "min.insync.replicas"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_number_of_connections_changes_while_a_broker_runs() {
    let broker = TestBroker::start(&[]).await;
    let (mut first, all) = (broker.connect().await, (RESOURCE_BROKER, ""));
    assert_eq!(alter(&mut first, all, "max.connections", CONFIG_SET, Some("1")).await, ErrorCode::None);
    assert!(broker.connect().await.is_closed().await, "one is open");
    assert_eq!(alter(&mut first, all, "max.connections", CONFIG_DELETE, None).await, ErrorCode::None);
    assert_eq!(
        alter(&mut first, all, "max.connections.per.ip", CONFIG_SET, Some("1")).await,
        ErrorCode::None
    );
    assert!(broker.connect().await.is_closed().await, "one from this address is open");
    assert_eq!(alter(&mut first, all, "max.connections.per.ip", CONFIG_DELETE, None).await, ErrorCode::None);
    let mut second = broker.connect().await;
    assert_eq!(
        alter(&mut second, all, "no.such", CONFIG_DELETE, None).await,
        ErrorCode::None,
        "it is served"
    );
    broker.stop().await;
}

/// Features tell tools which version of Apache Kafka a cluster is like.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn features_are_told_since_version_3() {
    let broker = TestBroker::start(&[]).await;
    let mut client = broker.connect().await;
    let request = ApiVersionsRequest { client_software_name: "test", client_software_version: "1" };
    for version in 0..=4 {
        let answer = client.call::<apis::ApiVersions>(version, &request).await;
        let response = answer.decode::<apis::ApiVersions>();
        let produce = response.api_keys.iter().find(|api| api.api_key == 0).unwrap();
        assert_eq!((produce.min_version, produce.max_version), (0, 13), "as Apache Kafka 4 tells");
        let levels = response.finalized_features.iter().map(|f| (f.name.to_string(), f.max_version_level));
        let told: BTreeMap<String, i16> = levels.collect();
        assert_eq!(told.get("metadata.version").copied(), (version >= 3).then_some(30), "version {version}");
        assert_eq!(
            response.finalized_features_epoch >= 0,
            version >= 3,
            "without an epoch clients take them for unknown"
        );
        let supported = response.supported_features.iter().map(|f| (f.name.to_string(), f.max_version));
        assert_eq!(supported.collect::<BTreeMap<_, _>>(), told);
    }
    // What is told and not served ends the connection, as in Apache Kafka.
    let old = ottla_wire::encode_request::<apis::Produce>(
        bytes::BytesMut::new(),
        1,
        None,
        3,
        &ProduceRequest::default(),
    );
    let mut frame = old.unwrap().bytes.to_vec();
    frame[7] = 2;
    tokio::io::AsyncWriteExt::write_all(&mut client.socket, &frame).await.unwrap();
    assert!(client.is_closed().await);
    broker.stop().await;
}
