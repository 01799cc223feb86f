//! Objects to apply, and whether the live one is as it should be already.

use std::fmt;

use k8s_openapi::Resource;
use serde::Serialize;
use serde_json::Value;
use sha2::{Digest, Sha256};

/// The annotation with a fingerprint of what was last applied: what is no longer asked for shows by it.
pub const INTENT_ANNOTATION: &str = "ottla.dev/intent";

/// The kinds of objects that plans hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ObjectKind {
    /// v1 ServiceAccount.
    ServiceAccount,
    /// v1 Service.
    Service,
    /// v1 ConfigMap.
    ConfigMap,
    /// apps/v1 StatefulSet.
    StatefulSet,
    /// policy/v1 PodDisruptionBudget.
    PodDisruptionBudget,
}

impl ObjectKind {
    /// Every kind.
    pub const ALL: [Self; 5] =
        [Self::ServiceAccount, Self::Service, Self::ConfigMap, Self::StatefulSet, Self::PodDisruptionBudget];

    /// The kind's name in manifests.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::ServiceAccount => "ServiceAccount",
            Self::Service => "Service",
            Self::ConfigMap => "ConfigMap",
            Self::StatefulSet => "StatefulSet",
            Self::PodDisruptionBudget => "PodDisruptionBudget",
        }
    }
}

impl fmt::Display for ObjectKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// An object as it should be.
#[derive(Clone, Debug, PartialEq)]
pub struct PlannedObject {
    /// Its kind.
    pub kind: ObjectKind,
    /// Its name.
    pub name: String,
    /// The whole of what the operator asks of it, with [`INTENT_ANNOTATION`].
    pub body: Value,
}

impl PlannedObject {
    /// Takes a built object.
    ///
    /// # Panics
    /// When it has no name: a builder forgot it.
    pub fn new<T: Resource + Serialize>(object: &T) -> Self {
        let kind = ObjectKind::ALL.into_iter().find(|kind| kind.as_str() == T::KIND);
        let kind = kind.expect("builders make objects of the kinds that there are");
        let mut body = serde_json::to_value(object).expect("an object is JSON");
        let name = body["metadata"]["name"].as_str().expect("builders name their objects").to_owned();
        let intent = fingerprint(&body.to_string());
        body["metadata"]["annotations"][INTENT_ANNOTATION] = Value::String(intent);
        Self { kind, name, body }
    }

    /// Whether applying this would change `live`, as far as can be told without asking.
    pub fn changes(&self, live: Option<&Value>) -> bool {
        live.is_none_or(|live| !covers(live, &self.body))
    }
}

/// The first 16 hexadecimal digits of the SHA-256 of `text`.
pub fn fingerprint(text: &str) -> String {
    let digest = Sha256::digest(text.as_bytes());
    digest.iter().take(8).map(|byte| format!("{byte:02x}")).collect()
}

/// Whether `live` holds everything that `wanted` asks for; it may hold more, as the API server adds defaults.
fn covers(live: &Value, wanted: &Value) -> bool {
    match (live, wanted) {
        (Value::Object(live), Value::Object(wanted)) => {
            wanted.iter().all(|(key, wanted)| match live.get(key) {
                Some(live) => covers(live, wanted),
                None => is_empty(wanted),
            })
        }
        (Value::Array(live), Value::Array(wanted)) => {
            live.len() == wanted.len() && live.iter().zip(wanted).all(|(live, wanted)| covers(live, wanted))
        }
        (live, wanted) => live == wanted,
    }
}

// The API server drops these.
fn is_empty(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::Object(fields) => fields.values().all(is_empty),
        Value::Array(items) => items.is_empty(),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn what_the_server_adds_is_no_difference() {
        for (live, wanted, same) in [
            (json!({"a": 1, "b": 2}), json!({"a": 1}), true),
            (json!({"a": 1}), json!({"a": 2}), false),
            (json!({"a": 1}), json!({"b": 1}), false),
            (json!({"a": [{"x": 1, "y": 2}]}), json!({"a": [{"x": 1}]}), true),
            (json!({"a": [1, 2]}), json!({"a": [1]}), false),
            (json!({}), json!({"a": {}, "b": []}), true),
            (json!({"a": {}}), json!({"a": {"b": null}}), true),
        ] {
            assert_eq!(covers(&live, &wanted), same, "{live} {wanted}");
        }
    }

    #[test]
    fn a_field_that_is_no_longer_asked_for_changes_the_intent() {
        use k8s_openapi::api::core::v1::ConfigMap;
        let mut map = ConfigMap::default();
        map.metadata.name = Some("c".into());
        map.data = Some([("k".to_owned(), "v".to_owned())].into());
        let old = PlannedObject::new(&map);
        map.data = None;
        let new = PlannedObject::new(&map);
        assert!(new.changes(Some(&old.body)) && !old.changes(Some(&old.body)) && old.changes(None));
    }
}
