//! The chart grants what the operator says that it needs, and nothing else.

use std::path::Path;

use ottla_controller::{CLUSTER_RULES, LEASE_RULES, NODE_RULES, rule_files};

#[test]
fn the_charts_rules_are_the_operators() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../charts/ottla/files");
    for (name, text) in rule_files() {
        let found = std::fs::read_to_string(folder.join(name)).unwrap_or_default();
        assert_eq!(
            found, text,
            "charts/ottla/files/{name} is not what operator/controller/src/rules.rs says"
        );
    }
}

#[test]
fn the_roles_are_made_of_these_files_alone() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../charts/ottla/templates/rbac.yaml");
    let template = std::fs::read_to_string(path).expect("the template is there");
    assert!(!template.contains("verbs:") && !template.contains("resources:"), "rules come from files/");
    for (name, _) in rule_files() {
        assert!(template.contains(&format!("files/{name}")), "{name} is used");
    }
}

#[test]
fn no_rule_is_wider_than_it_needs() {
    for rule in CLUSTER_RULES.iter().chain(NODE_RULES).chain(LEASE_RULES) {
        let words = [&[rule.group], rule.resources, rule.names, rule.verbs].concat();
        assert!(!words.contains(&"*"), "{rule:?}");
        assert!(
            !rule.resources.is_empty() && !rule.verbs.is_empty(),
            "an empty list would grant all: {rule:?}"
        );
        assert!(!rule.resources.contains(&"secrets"), "the operator has no business with Secrets");
    }
}
