//! Validation without an API server: the definitions' own schema and CEL rules, evaluated here.

use std::fmt;
use std::sync::OnceLock;

use kube_cel::{CompiledSchema, Validator, apply_defaults, compile_schema};
use serde_json::Value;

use crate::schema::Violation;
use crate::{API_VERSION, crd, schema};

/// Which of our kinds a manifest is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Kind {
    /// A KafkaCluster.
    KafkaCluster,
    /// A Topic.
    Topic,
}

impl Kind {
    /// The kind's name in manifests.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::KafkaCluster => "KafkaCluster",
            Self::Topic => "Topic",
        }
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// The kind of a manifest, by its apiVersion and kind.
///
/// # Errors
/// When either is absent or not ours; the violation names what is allowed.
pub fn kind_of(manifest: &Value) -> Result<Kind, Violation> {
    let text = |field| manifest.get(field).and_then(Value::as_str).unwrap_or_default();
    if text("apiVersion") != API_VERSION {
        let given = text("apiVersion");
        return Err(Violation::new(
            "apiVersion",
            format!("Unsupported value: {given:?}: supported values: {API_VERSION:?}"),
        ));
    }
    match text("kind") {
        "KafkaCluster" => Ok(Kind::KafkaCluster),
        "Topic" => Ok(Kind::Topic),
        other => Err(Violation::new(
            "kind",
            format!("Unsupported value: {other:?}: supported values: \"KafkaCluster\", \"Topic\""),
        )),
    }
}

/// What admission would say to `manifest`: empty if it would be taken. With `old`, the object that it
/// replaces, the rules about changes are checked too.
///
/// As with the API server, rules are only evaluated once the schema's own checks pass.
pub fn validate(manifest: &Value, old: Option<&Value>) -> Vec<Violation> {
    let kind = match kind_of(manifest) {
        Ok(kind) => kind,
        Err(violation) => return vec![violation],
    };
    let rules = rules(kind);
    let mut new = rules.with_defaults(manifest);
    let mut found = Vec::new();
    check_name(&new, &mut found);
    schema::check(&rules.schema, &new, "", &mut found);
    if !found.is_empty() {
        return found;
    }
    // Nothing in a spec depends on what the status says, and old manifests may carry one.
    if let Some(fields) = new.as_object_mut() {
        fields.remove("status");
    }
    let old = old.map(|old| rules.with_defaults(old));
    let outcome = Validator::new().validate_compiled(&rules.compiled, &new, old.as_ref());
    let errors = outcome.err().map(|errors| errors.into_vec()).unwrap_or_default();
    errors.into_iter().map(|e| Violation { field: e.field_path, message: e.message }).collect()
}

fn check_name(manifest: &Value, found: &mut Vec<Violation>) {
    let name = manifest.pointer("/metadata/name").and_then(Value::as_str).unwrap_or_default();
    let ends = |b: Option<u8>| b.is_some_and(|b| b.is_ascii_lowercase() || b.is_ascii_digit());
    if name.is_empty() {
        found.push(Violation::new("metadata.name", "Required value: name is required"));
    } else if name.len() > 253
        || !name.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || matches!(b, b'-' | b'.'))
        || !ends(name.bytes().next())
        || !ends(name.bytes().next_back())
    {
        found.push(Violation::new(
            "metadata.name",
            format!(
                "Invalid value: {name:?}: a name must be at most 253 of a-z, 0-9, '-' and '.', and start and end with a letter or digit"
            ),
        ));
    }
}

struct Rules {
    schema: Value,
    compiled: CompiledSchema,
}

impl Rules {
    /// A manifest as the API server stores it.
    fn with_defaults(&self, manifest: &Value) -> Value {
        apply_defaults(&self.schema, &schema::without_nulls(manifest))
    }
}

fn rules(kind: Kind) -> &'static Rules {
    static RULES: OnceLock<[Rules; 2]> = OnceLock::new();
    let [cluster, topic] = RULES.get_or_init(|| {
        crd::crds().each_ref().map(|crd| {
            let schema = crd::schema_of(crd);
            let compiled = compile_schema(&schema);
            assert!(!compiled.has_errors(), "every rule compiles: {:?}", compiled.compilation_errors());
            Rules { schema, compiled }
        })
    });
    match kind {
        Kind::KafkaCluster => cluster,
        Kind::Topic => topic,
    }
}
