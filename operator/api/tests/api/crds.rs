//! `crds/` holds what the types generate.

use std::path::Path;

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use ottla_api::{
    CONFIG_KEYS_OWNED, DEFINITION_ANNOTATION, DEFINITION_VERSION_ANNOTATION, REPLICAS_MAX,
    TOPIC_NAMES_INTERNAL, crd_files, crds, definition_trouble,
};
use serde_json::{Value, json};

#[test]
fn the_files_are_current() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../crds");
    for file in crd_files() {
        let found = std::fs::read_to_string(folder.join(file.name)).unwrap_or_default();
        assert_eq!(found, file.text, "crds/{} is not what the types say; run `cargo xtask crds`", file.name);
    }
}

// A rule is text, so it cannot use the constants: this holds them together.
#[test]
fn rules_and_constants_agree() {
    let text = serde_json::to_string(crds()).unwrap();
    for key in CONFIG_KEYS_OWNED {
        assert_eq!(text.matches(&format!("'{key}'")).count(), 1, "{key} is in the rule");
    }
    for name in TOPIC_NAMES_INTERNAL {
        assert_eq!(text.matches(&format!("'{name}'")).count(), 1, "{name} is in the rule");
    }
    assert!(text.contains(&format!("self >= 1 && self <= {REPLICAS_MAX}")));
}

#[test]
fn every_rule_says_its_own_words_and_names_its_field() {
    fn rules(value: &serde_json::Value, found: &mut Vec<serde_json::Value>) {
        if let Some(list) = value.get("x-kubernetes-validations").and_then(|v| v.as_array()) {
            found.extend(list.iter().cloned());
        }
        match value {
            serde_json::Value::Object(fields) => fields.values().for_each(|v| rules(v, found)),
            serde_json::Value::Array(items) => items.iter().for_each(|v| rules(v, found)),
            _ => {}
        }
    }
    let mut found = Vec::new();
    rules(&serde_json::to_value(crds()).unwrap(), &mut found);
    assert!(found.len() >= 20, "{}", found.len());
    for rule in found {
        let message = rule["message"].as_str().unwrap_or_default();
        assert!(message.starts_with("spec.") || message.starts_with("metadata."), "{rule}");
    }
}

#[test]
fn lists_of_things_with_a_key_are_maps() {
    // A list of objects without a key is replaced as a whole by whoever writes one of them.
    fn lists(value: &Value, path: &str, found: &mut Vec<String>) {
        let Value::Object(fields) = value else { return };
        if let Some(keys) = fields.get("x-kubernetes-list-map-keys") {
            assert_eq!(fields["x-kubernetes-list-type"], "map", "{path}");
            found.push(format!("{path} {keys}"));
        }
        let named = fields.get("properties").and_then(Value::as_object).into_iter().flatten();
        named.for_each(|(name, value)| lists(value, &format!("{path}.{name}"), found));
    }
    let mut found = Vec::new();
    for crd in crds() {
        let schema = crd.spec.versions[0].schema.as_ref().and_then(|s| s.open_api_v3_schema.as_ref());
        lists(&serde_json::to_value(schema).unwrap(), &crd.spec.names.kind, &mut found);
    }
    for expected in [
        "KafkaCluster.spec.listeners [\"name\"]",
        "KafkaCluster.status.brokers [\"id\"]",
        "KafkaCluster.status.conditions [\"type\"]",
        "KafkaCluster.status.listeners [\"name\"]",
        "KafkaCluster.status.nodePorts [\"service\"]",
        "Topic.status.assignments [\"partition\"]",
        "Topic.status.conditions [\"type\"]",
    ] {
        assert!(found.contains(&expected.to_owned()), "{expected} is not in {found:?}");
    }
}

/// Our own definition of topics as an API server has it, with this change.
fn live(change: impl FnOnce(&mut CustomResourceDefinition)) -> CustomResourceDefinition {
    let mut live = crds()[1].clone();
    let status = json!({"conditions": [{"type": "Established", "status": "True"}]});
    live.status = Some(serde_json::from_value(status).expect("it is a status"));
    change(&mut live);
    live
}

fn annotate(live: &mut CustomResourceDefinition, key: &str, value: &str) {
    live.metadata.annotations.get_or_insert_default().insert(key.into(), value.into());
}

#[test]
fn a_definition_that_is_absent_older_or_another_is_told_with_what_to_do() {
    let trouble = |live: Option<&CustomResourceDefinition>| definition_trouble(&crds()[1], live);
    assert_eq!(trouble(Some(&live(|_| {}))), None);
    let newer = live(|crd| {
        annotate(crd, DEFINITION_VERSION_ANNOTATION, "0.10.0");
        annotate(crd, DEFINITION_ANNOTATION, "other");
    });
    assert_eq!(trouble(Some(&newer)), None);
    // A release in which nothing of it has changed.
    assert_eq!(trouble(Some(&live(|crd| annotate(crd, DEFINITION_VERSION_ANNOTATION, "0.0.9")))), None);
    let said = trouble(None).unwrap();
    assert!(
        said.starts_with("the definition topics.ottla.dev is not there: install the chart ottla-crds"),
        "{said}"
    );
    let said = trouble(Some(&live(|crd| crd.status = None))).unwrap();
    assert!(said.ends_with("is not established yet"), "{said}");
    let unmarked = live(|crd| crd.metadata.annotations = None);
    let said = trouble(Some(&unmarked)).unwrap();
    assert!(
        said.contains("is older than this operator") && said.ends_with("apply the files of crds/"),
        "{said}"
    );
    let older = live(|crd| {
        annotate(crd, DEFINITION_VERSION_ANNOTATION, "0.0.9");
        annotate(crd, DEFINITION_ANNOTATION, "other");
        annotate(crd, "meta.helm.sh/release-name", "kinds");
        annotate(crd, "meta.helm.sh/release-namespace", "base");
    });
    let said = trouble(Some(&older)).unwrap();
    assert!(said.contains("is of version 0.0.9, and this operator needs"), "{said}");
    assert!(said.contains("upgrade the release kinds in the namespace base"), "{said}");
    let said = trouble(Some(&live(|crd| annotate(crd, DEFINITION_ANNOTATION, "other")))).unwrap();
    assert!(said.contains("is another one of version"), "{said}");
}
