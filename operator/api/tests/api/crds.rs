//! `crds/` holds what the types generate.

use std::path::Path;

use ottla_api::{CONFIG_KEYS_OWNED, REPLICAS_MAX, TOPIC_NAMES_INTERNAL, crd_files, crds};

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
