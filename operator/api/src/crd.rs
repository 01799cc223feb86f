//! The CustomResourceDefinitions, generated from the types.

use std::sync::OnceLock;

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::CustomResourceExt;
use serde_json::{Value, json};

use crate::definition::{DEFINITION_ANNOTATION, DEFINITION_VERSION_ANNOTATION, fingerprint};
use crate::json::to_json;
use crate::{KafkaCluster, Topic};

/// One generated file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CrdFile {
    /// The file's name in `crds/`.
    pub name: &'static str,
    /// Its whole text.
    pub text: String,
}

/// Both definitions, KafkaCluster first.
pub fn crds() -> &'static [CustomResourceDefinition; 2] {
    static CRDS: OnceLock<[CustomResourceDefinition; 2]> = OnceLock::new();
    CRDS.get_or_init(|| [finished(KafkaCluster::crd()), finished(Topic::crd())])
}

/// The files that belong in `crds/`, with their text.
pub fn crd_files() -> [CrdFile; 2] {
    let [cluster, topic] = crds();
    [
        CrdFile { name: "kafkaclusters.ottla.dev.yaml", text: crd_yaml(cluster) },
        CrdFile { name: "topics.ottla.dev.yaml", text: crd_yaml(topic) },
    ]
}

/// One definition as YAML, with a head line that says where it comes from.
pub fn crd_yaml(crd: &CustomResourceDefinition) -> String {
    let body = serde_saphyr::to_string(crd).expect("a definition has only string keys");
    format!("# Generated from operator/api by `cargo xtask crds`; do not edit.\n{}\n", body.trim_end())
}

/// The schema of the one version of `crd`, with the fields that the API server adds to every kind.
pub(crate) fn schema_of(crd: &CustomResourceDefinition) -> Value {
    let schema = crd.spec.versions.first().and_then(|v| v.schema.as_ref()?.open_api_v3_schema.as_ref());
    let mut schema = to_json(schema.expect("each kind has one version, which has a schema"));
    for (field, kind) in [("apiVersion", "string"), ("kind", "string"), ("metadata", "object")] {
        schema["properties"][field] = json!({"type": kind});
    }
    schema
}

// An absent field and a null one are the same to us. Without `nullable` the API server drops nulls
// before it applies defaults and rules, so that no rule has to think of them.
fn finished(crd: CustomResourceDefinition) -> CustomResourceDefinition {
    let mut value = to_json(&crd);
    tidy(&mut value);
    let text = value["spec"].to_string();
    value["metadata"]["annotations"] = json!({
        DEFINITION_VERSION_ANNOTATION: env!("CARGO_PKG_VERSION"),
        DEFINITION_ANNOTATION: fingerprint(&text),
    });
    serde_json::from_value(value).expect("removing optional keys leaves a definition")
}

fn tidy(value: &mut Value) {
    match value {
        Value::Object(fields) => {
            if fields.get("nullable") == Some(&Value::Bool(true)) {
                fields.remove("nullable");
            }
            fields.values_mut().for_each(tidy);
        }
        Value::Array(items) => items.iter_mut().for_each(tidy),
        _ => {}
    }
}
