//! What the operator may ask of Kubernetes: one list, from which the chart's roles are generated.
//!
//! A test compares the files in `charts/ottla/files` with this, and the end-to-end test compares it with what
//! the operator really calls.

/// Some verbs on some resources of one API group.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rule {
    /// The API group; empty: the core group.
    pub group: &'static str,
    /// The resources, subresources as `topics/status`.
    pub resources: &'static [&'static str],
    /// The names of the objects; empty: any.
    pub names: &'static [&'static str],
    /// The verbs.
    pub verbs: &'static [&'static str],
    /// What it is for.
    pub why: &'static str,
}

const ANY: &[&str] = &[];

/// Where clusters are looked after.
pub const CLUSTER_RULES: &[Rule] = &[
    Rule {
        group: "ottla.dev",
        resources: &["kafkaclusters", "topics"],
        names: ANY,
        verbs: &["list", "watch"],
        why: "what is asked for",
    },
    Rule {
        group: "ottla.dev",
        resources: &["topics"],
        names: ANY,
        verbs: &["patch"],
        why: "the finalizer of topics",
    },
    Rule {
        group: "ottla.dev",
        resources: &["kafkaclusters/status", "topics/status"],
        names: ANY,
        verbs: &["patch"],
        why: "what came of it",
    },
    Rule {
        group: "",
        resources: &["services", "configmaps", "serviceaccounts"],
        names: ANY,
        verbs: &["list", "watch", "create", "patch"],
        why: "addresses, settings and accounts of brokers",
    },
    Rule {
        group: "",
        resources: &["services"],
        names: ANY,
        verbs: &["delete"],
        why: "addresses of a listener that is gone",
    },
    Rule {
        group: "",
        resources: &["pods", "persistentvolumeclaims"],
        names: ANY,
        verbs: &["list", "watch"],
        why: "how brokers are, and what their volumes remember",
    },
    Rule {
        group: "",
        resources: &["pods/eviction"],
        names: ANY,
        verbs: &["create"],
        why: "brokers with changed settings, one by one and within the disruption budget",
    },
    Rule {
        group: "apps",
        resources: &["statefulsets"],
        names: ANY,
        verbs: &["list", "watch", "create", "patch"],
        why: "the brokers",
    },
    Rule {
        group: "policy",
        resources: &["poddisruptionbudgets"],
        names: ANY,
        verbs: &["list", "watch", "create", "patch"],
        why: "one broker at a time in drains",
    },
    Rule {
        group: "events.k8s.io",
        resources: &["events"],
        names: ANY,
        verbs: &["create"],
        why: "what people should hear of",
    },
];

/// In the whole of Kubernetes, also where single namespaces are looked after: nodes and definitions have
/// none.
pub const NODE_RULES: &[Rule] = &[
    Rule {
        group: "",
        resources: &["nodes"],
        names: ANY,
        verbs: &["get"],
        why: "the rack that a broker is in",
    },
    Rule {
        group: "apiextensions.k8s.io",
        resources: &["customresourcedefinitions"],
        names: &["kafkaclusters.ottla.dev", "topics.ottla.dev"],
        verbs: &["get"],
        why: "whether the definitions are there, and as new as the operator",
    },
];

/// In the operator's own namespace.
pub const LEASE_RULES: &[Rule] = &[Rule {
    group: "coordination.k8s.io",
    resources: &["leases"],
    names: ANY,
    verbs: &["get", "create", "update"],
    why: "one operator works at a time",
}];

/// Rules as the YAML of a role's `rules`.
pub fn rules_yaml(rules: &[Rule]) -> String {
    let list = |words: &[&str]| words.iter().map(|w| format!("{w:?}")).collect::<Vec<_>>().join(", ");
    let mut text = String::from("# Generated from operator/controller/src/rules.rs; do not edit.\n");
    for rule in rules {
        let Rule { group, resources, names, verbs, why } = *rule;
        text += &format!("# {why}\n- apiGroups: [{group:?}]\n  resources: [{}]\n", list(resources));
        if !names.is_empty() {
            text += &format!("  resourceNames: [{}]\n", list(names));
        }
        text += &format!("  verbs: [{}]\n", list(verbs));
    }
    text
}

/// The files in `charts/ottla/files` that are generated from the rules: name and text.
pub fn rule_files() -> [(&'static str, String); 3] {
    [
        ("cluster-rules.yaml", rules_yaml(CLUSTER_RULES)),
        ("node-rules.yaml", rules_yaml(NODE_RULES)),
        ("lease-rules.yaml", rules_yaml(LEASE_RULES)),
    ]
}
