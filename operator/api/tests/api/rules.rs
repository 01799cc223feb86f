//! What admission refuses, and in which words: manifests in, violations out.

use ottla_api::validate;
use serde_json::Value;

const CLUSTER: &str = "
apiVersion: ottla.dev/v1alpha1
kind: KafkaCluster
metadata: {name: demo}
spec:
  replicas: 3
  storage: {size: 10Gi, retention: Retain}
  listeners:
  - {name: internal, port: 9092, type: internal}
  - {name: external, port: 9094, type: nodeport}
  config: {min.insync.replicas: 2, default.replication.factor: 3}
  rack: {topologyKey: topology.kubernetes.io/zone}
";

const TOPIC: &str = "
apiVersion: ottla.dev/v1alpha1
kind: Topic
metadata: {name: orders}
spec:
  clusterRef: {name: demo}
  topicName: orders_v1
  partitions: 24
  replicas: 3
  config: {retention.ms: '604800000'}
  deletionPolicy: Retain
";

/// `text` with `new` merged over it.
fn with(text: &str, new: &str) -> Value {
    let mut value: Value = serde_saphyr::from_str(text).expect("the base is YAML");
    merge(&mut value, serde_saphyr::from_str(new).expect("the change is YAML"));
    value
}

fn merge(into: &mut Value, new: Value) {
    match (into, new) {
        (Value::Object(into), Value::Object(new)) => {
            for (key, value) in new {
                merge(into.entry(key).or_insert(Value::Null), value);
            }
        }
        (into, new) => *into = new,
    }
}

fn said(new: &Value, old: Option<&Value>) -> String {
    let lines: Vec<String> = validate(new, old).iter().map(ToString::to_string).collect();
    if lines.is_empty() { "taken".to_owned() } else { lines.join("\n") }
}

/// Each change applied to `base` alone, and what is said to it.
fn report(base: &str, changes: &[&str], is_update: bool) -> String {
    let old = with(base, "{}");
    let answers = changes.iter().map(|change| {
        let answer = said(&with(base, change), is_update.then_some(&old));
        format!("{change}\n  {}\n", answer.replace('\n', "\n  "))
    });
    answers.collect()
}

#[test]
fn clusters_made() {
    insta::assert_snapshot!(report(
        CLUSTER,
        &[
            "{}",
            "{spec: {replicas: 0}}",
            "{spec: {replicas: 1001}}",
            "{spec: {replicas: three}}",
            "{spec: {replicas: null}}",
            "{spec: {brokers: 3}}",
            "{spec: {storage: {size: 10Gb}}}",
            "{spec: {storage: {size: '0'}}}",
            "{spec: {storage: {retention: Keep}}}",
            "{spec: {listeners: []}}",
            "{spec: {listeners: [{name: a, port: 9094, type: nodeport}]}}",
            "{spec: {listeners: [{name: a, port: 9092, type: internal}, {name: b, port: 9093, type: internal}]}}",
            "{spec: {listeners: [{name: a, port: 9092, type: internal}, {name: b, port: 9092, type: nodeport}]}}",
            "{spec: {listeners: [{name: a, port: 9092, type: internal}, {name: a, port: 9094, type: nodeport}]}}",
            "{spec: {listeners: [{name: a, port: 9095, type: internal}]}}",
            "{spec: {listeners: [{name: a, port: 80, type: internal}]}}",
            "{spec: {listeners: [{name: a, type: internal}]}}",
            "{spec: {listeners: [{name: a, port: 9092, type: loadbalancer}]}}",
            "{spec: {listeners: [{name: http, port: 9092, type: internal}]}}",
            "{spec: {listeners: [{name: In, port: 9092, type: internal}]}}",
            "{spec: {listeners: [{name: a, port: 9092, type: internal, nodePort: 30000}]}}",
            "{spec: {listeners: [{name: a, port: 9092, type: internal}, {name: b, port: 9094, type: nodeport, nodePort: 80}]}}",
            "{spec: {config: {node.id: 3}}}",
            "{spec: {config: {Log.Dirs: /tmp}}}",
            "{spec: {config: {auto.create.topics.enable: false}}}",
            "{spec: {config: {auto.create.topics.enable: 'false'}}}",
            "{spec: {rack: {topologyKey: not a label}}}",
            "{spec: {logLevel: 'info; rm'}}",
            "{spec: {logLevel: 'info,ottla_server=debug'}}",
            "{spec: {pod: {terminationGracePeriodSeconds: 0}}}",
            "{spec: {pod: {tolerations: [{key: a, operator: Exists}], nodeSelector: {a: b}}}}",
            "{spec: {resources: {limits: {memory: 1Gi, cpu: 2}}}}",
            "{metadata: {name: demo.one}}",
            "{metadata: {name: 9demo}}",
            "{metadata: {name: Demo}}",
            "{metadata: {name: a23456789-123456789-123456789-1234567}}",
            "{apiVersion: ottla.dev/v1}",
            "{kind: Kafka}",
        ],
        false
    ));
}

#[test]
fn clusters_changed() {
    insta::assert_snapshot!(report(
        CLUSTER,
        &[
            "{spec: {replicas: 5}}",
            "{spec: {replicas: 2}}",
            "{spec: {storage: {size: 20Gi}}}",
            "{spec: {storage: {class: fast}}}",
            "{spec: {storage: {retention: Delete}}}",
            "{status: {replicas: 2}}",
        ],
        true
    ));
}

#[test]
fn topics_made() {
    insta::assert_snapshot!(report(
        TOPIC,
        &[
            "{}",
            "{spec: {clusterRef: null}}",
            "{spec: {clusterRef: {name: ''}}}",
            "{spec: {topicName: 'a b'}}",
            "{spec: {topicName: '..'}}",
            "{spec: {topicName: ''}}",
            "{spec: {topicName: __consumer_offsets}}",
            "{spec: {topicName: null}}",
            "{spec: {partitions: 0}}",
            "{spec: {partitions: 10001}}",
            "{spec: {partitions: 1.5}}",
            "{spec: {replicas: 0}}",
            "{spec: {replicas: 8}}",
            "{spec: {config: {retention.ms: [1]}}}",
            "{spec: {config: {retention ms: 1}}}",
            "{spec: {deletionPolicy: Keep}}",
            "{spec: {retention: 1}}",
        ],
        false
    ));
}

#[test]
fn topics_changed() {
    insta::assert_snapshot!(report(
        TOPIC,
        &[
            "{spec: {partitions: 48}}",
            "{spec: {partitions: 12}}",
            "{spec: {clusterRef: {name: other}}}",
            "{spec: {topicName: orders_v2}}",
            "{spec: {topicName: null}}",
            "{spec: {replicas: 1}}",
            "{spec: {deletionPolicy: Delete}}",
        ],
        true
    ));
}

#[test]
fn a_topic_named_after_its_resource_may_say_so_later() {
    let old = with(TOPIC, "{spec: {topicName: null}}");
    assert_eq!(said(&with(TOPIC, "{spec: {topicName: orders}}"), Some(&old)), "taken");
}

#[test]
fn names_and_maps_are_bounded() {
    let long = "x".repeat(250);
    let answer = said(&with(TOPIC, &format!("{{spec: {{topicName: {long}}}}}")), None);
    assert_eq!(answer, "spec.topicName: Too long: may not be more than 249 bytes");
    let keys: Vec<String> = (0..257).map(|n| format!("a{n}: 1")).collect();
    let answer = said(&with(TOPIC, &format!("{{spec: {{config: {{{}}}}}}}", keys.join(", "))), None);
    assert!(answer.contains("must have at most 256 items"), "{answer}");
}
