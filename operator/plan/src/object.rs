//! Objects to apply, and whether the live one is as it should be already.

use std::fmt;

use k8s_openapi::Resource;
use ottla_api::to_json;
use serde::Serialize;
use serde_json::{Map, Value};
use sha2::{Digest, Sha256};

use crate::names::FIELD_MANAGER;

/// The annotation with a fingerprint of what was last applied: what is asked for otherwise, or no longer,
/// shows by it.
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
    /// The body with which it is created again, with the node port that it had; without that if the port is
    /// taken.
    pub again: Option<Value>,
}

impl PlannedObject {
    /// Takes a built object.
    ///
    /// # Panics
    /// When it has no name: a builder forgot it.
    pub fn new<T: Resource + Serialize>(object: &T) -> Self {
        let kind = ObjectKind::ALL.into_iter().find(|kind| kind.as_str() == T::KIND);
        let kind = kind.expect("builders make objects of the kinds that there are");
        let mut body = to_json(object);
        let name = body["metadata"]["name"].as_str().expect("builders name their objects").to_owned();
        let intent = fingerprint(&body.to_string());
        body["metadata"]["annotations"][INTENT_ANNOTATION] = Value::String(intent);
        Self { kind, name, body, again: None }
    }

    /// A Service that asks for its node port again, if it has to be made anew.
    pub(crate) fn with_node_port(mut self, port: i32) -> Self {
        let mut again = self.body.clone();
        again["spec"]["ports"][0]["nodePort"] = port.into();
        self.again = Some(again);
        self
    }

    /// Whether `live`, which has this object's name, belongs to the same KafkaCluster: by its owner's uid, as
    /// names and labels can be anybody's.
    ///
    /// # Errors
    /// What to tell if it doesn't; it is not to be touched then.
    pub fn check_owner(&self, live: &Value) -> Result<(), Foreign> {
        let uid = self.body.pointer("/metadata/ownerReferences/0/uid").and_then(Value::as_str);
        let owners =
            || live.pointer("/metadata/ownerReferences").and_then(Value::as_array).into_iter().flatten();
        if uid.is_some() && owners().any(|owner| owner["uid"].as_str() == uid) {
            return Ok(());
        }
        let title = |owner: &Value| {
            let word = |field: &str| owner[field].as_str().unwrap_or_default();
            format!("{} {}", word("kind"), word("name"))
        };
        let owner = owners().next().map(title);
        let ours = self.body.pointer("/metadata/ownerReferences/0").map(title);
        Err(Foreign { kind: self.kind, name: self.name.clone(), is_earlier: owner == ours, owner })
    }

    /// Whether this is to be applied, with `live` there.
    ///
    /// Values aren't compared: the API server writes some in other words (`1024Mi` as `1Gi`), and webhooks
    /// may change what they like. `live` is as it should be if it was made from the same intent and every
    /// field of it is still the operator's own: who changes a field's value takes it over, which the API
    /// server notes in `managedFields`.
    pub fn changes(&self, live: Option<&Value>) -> bool {
        let Some(live) = live else { return true };
        let intent = |object: &Value| object["metadata"]["annotations"][INTENT_ANNOTATION].clone();
        let own = live["metadata"]["managedFields"].as_array().into_iter().flatten().find(|entry| {
            entry["manager"] == FIELD_MANAGER
                && entry["operation"] == "Apply"
                && is_empty(&entry["subresource"])
        });
        let fields = own.map_or(&Value::Null, |entry| &entry["fieldsV1"]);
        intent(live) != intent(&self.body) || !owns(fields, &without_identity(&self.body))
    }
}

/// An object that has the name of one of a cluster's and isn't its own: a person made it, or another resource
/// owns it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Foreign {
    /// Its kind.
    pub kind: ObjectKind,
    /// Its name.
    pub name: String,
    /// What owns it, as in "KafkaCluster other"; none: nothing does.
    pub owner: Option<String>,
    /// Whether the owner was an earlier KafkaCluster of the same name, with which it goes by itself.
    pub is_earlier: bool,
}

impl fmt::Display for Foreign {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { kind, name, owner, is_earlier } = self;
        if *is_earlier {
            return write!(
                f,
                "the {kind} {name} belongs to an earlier KafkaCluster of this name and should soon be gone with it: \
                 delete it if it stays"
            );
        }
        let whose = match owner {
            Some(owner) => format!("belongs to {owner}"),
            None => "was not made for this KafkaCluster".to_owned(),
        };
        write!(
            f,
            "the {kind} {name} is there already and {whose}, so it is left alone: delete or rename it, or give this \
             KafkaCluster another name"
        )
    }
}

impl std::error::Error for Foreign {}

/// The first 16 hexadecimal digits of the SHA-256 of `text`.
pub fn fingerprint(text: &str) -> String {
    let digest = Sha256::digest(text.as_bytes());
    digest.iter().take(8).map(|byte| format!("{byte:02x}")).collect()
}

// Nobody owns what says which object it is.
fn without_identity(body: &Value) -> Value {
    let mut body = body.clone();
    for field in ["/apiVersion", "/kind", "/metadata/name", "/metadata/namespace"] {
        if let Some(value) = body.pointer_mut(field) {
            value.take();
        }
    }
    body
}

/// Whether `fields`, a node of a FieldsV1, has everything that `wanted` says.
fn owns(fields: &Value, wanted: &Value) -> bool {
    match (fields.as_object(), wanted) {
        (None, _) => false,
        // One value, or what only changes hands as a whole.
        (Some(fields), _) if fields.is_empty() => true,
        (Some(fields), Value::Object(wanted)) => wanted
            .iter()
            .filter(|(_, wanted)| !is_empty(wanted))
            .all(|(key, wanted)| fields.get(&format!("f:{key}")).is_some_and(|fields| owns(fields, wanted))),
        (Some(fields), Value::Array(items)) => {
            items.iter().all(|item| item_of(fields, item).is_some_and(|fields| owns(fields, item)))
        }
        (Some(_), _) => true,
    }
}

// The node of a list's item: by the values of its keys (which may be defaults), or by its own value.
fn item_of<'a>(fields: &'a Map<String, Value>, item: &Value) -> Option<&'a Value> {
    let is_it = |key: &str| match key.split_once(':') {
        Some(("k", keys)) => serde_json::from_str::<Map<String, Value>>(keys)
            .is_ok_and(|keys| keys.iter().all(|(key, value)| item.get(key).is_none_or(|had| had == value))),
        Some(("v", value)) => serde_json::from_str::<Value>(value).is_ok_and(|value| value == *item),
        _ => false,
    };
    fields.iter().find(|(key, _)| is_it(key)).map(|(_, fields)| fields)
}

// What isn't there is nobody's.
fn is_empty(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::Object(fields) => fields.values().all(is_empty),
        Value::Array(items) => items.is_empty(),
        Value::String(text) => text.is_empty(),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn fields_are_owned_by_name_by_key_and_as_a_whole() {
        let fields = json!({
            "f:replicas": {},
            "f:selector": {},
            "f:template": {"f:containers": {
                "k:{\"name\":\"broker\"}": {
                    ".": {}, "f:name": {}, "f:image": {}, "f:resources": {"f:limits": {"f:memory": {}}},
                    "f:ports": {"k:{\"containerPort\":9092,\"protocol\":\"TCP\"}": {".": {}, "f:containerPort": {}}},
                },
            }},
            "f:finalizers": {".": {}, "v:\"a/b\"": {}},
        });
        let port = json!([{"containerPort": 9092}]);
        for (wanted, owned) in [
            (json!({"replicas": 3, "selector": {"any": ["thing"]}}), true),
            (json!({"nodeName": "n"}), false),
            (json!({"nodeName": "", "tolerations": [], "affinity": {}, "x": null}), true),
            (json!({"finalizers": ["a/b"]}), true),
            (json!({"finalizers": ["a/c"]}), false),
            (json!({"template": {"containers": [{"name": "broker", "image": "i", "ports": port}]}}), true),
            (json!({"template": {"containers": [{"name": "broker", "args": ["x"]}]}}), false),
            (json!({"template": {"containers": [{"name": "other"}]}}), false),
            (
                json!({"template": {"containers": [{"name": "broker", "resources": {"limits": {"memory": "1024Mi"}}}]}}),
                true,
            ),
            (
                json!({"template": {"containers": [{"name": "broker", "resources": {"limits": {"cpu": "0.5"}}}]}}),
                false,
            ),
        ] {
            assert_eq!(owns(&fields, &wanted), owned, "{wanted}");
        }
        assert!(!owns(&Value::Null, &json!({"replicas": 3})), "nothing was ever applied");
    }

    #[test]
    fn an_object_is_a_clusters_by_its_owners_uid_alone() {
        use k8s_openapi::api::core::v1::ServiceAccount;
        let mut account = ServiceAccount::default();
        account.metadata.name = Some("demo-broker".into());
        let mut object = PlannedObject::new(&account);
        object.body["metadata"]["ownerReferences"] =
            json!([{"kind": "KafkaCluster", "name": "demo", "uid": "u"}]);
        let owned_by = |owner: Value| json!({"metadata": {"labels": {"a": "b"}, "ownerReferences": owner}});
        assert_eq!(object.check_owner(&object.body), Ok(()));
        let many = json!([{"kind": "App", "name": "shop", "uid": "x"}, {"kind": "KafkaCluster", "name": "demo", "uid": "u"}]);
        assert_eq!(object.check_owner(&owned_by(many)), Ok(()));
        let others = owned_by(json!([{"kind": "KafkaCluster", "name": "other", "uid": "x"}]));
        let said = object.check_owner(&others).unwrap_err().to_string();
        assert!(
            said.starts_with(
                "the ServiceAccount demo-broker is there already and belongs to KafkaCluster other,"
            ),
            "{said}"
        );
        let older = owned_by(json!([{"kind": "KafkaCluster", "name": "demo", "uid": "older"}]));
        let said = object.check_owner(&older).unwrap_err().to_string();
        assert!(said.contains("belongs to an earlier KafkaCluster of this name"), "{said}");
        for nobodys in [owned_by(json!([])), json!({"metadata": {}}), json!({})] {
            let said = object.check_owner(&nobodys).unwrap_err().to_string();
            assert!(
                said.contains("was not made for this KafkaCluster") && said.contains("delete or rename it"),
                "{said}"
            );
        }
        // What names no owner is nobody's to claim.
        let unowned = PlannedObject::new(&account);
        assert!(unowned.check_owner(&unowned.body).is_err());
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
        let entry = |manager: &str, operation: &str| {
            let data = json!({"f:k": {}});
            let annotations = json!({format!("f:{INTENT_ANNOTATION}"): {}});
            let fields = json!({"f:data": data, "f:metadata": {"f:annotations": annotations}});
            json!({"manager": manager, "operation": operation, "fieldsType": "FieldsV1", "fieldsV1": fields})
        };
        let mut live = old.body.clone();
        assert!(old.changes(None) && old.changes(Some(&live)), "nobody applied it");
        live["metadata"]["managedFields"] =
            json!([entry("kubectl", "Apply"), entry(FIELD_MANAGER, "Update")]);
        assert!(old.changes(Some(&live)), "the operator didn't apply it");
        live["metadata"]["managedFields"] =
            json!([entry("kubectl", "Update"), entry(FIELD_MANAGER, "Apply")]);
        assert!(new.changes(Some(&live)) && !old.changes(Some(&live)));
        // Somebody wrote another value: the field is theirs now.
        live["metadata"]["managedFields"][1]["fieldsV1"].as_object_mut().expect("fields").remove("f:data");
        assert!(old.changes(Some(&live)));
    }
}
