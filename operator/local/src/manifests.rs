//! Manifests as text: several YAML or JSON documents to objects, and the built-in ones.

use serde_json::Value;
use thiserror::Error;

/// The most that is read of manifests, in bytes.
pub const MANIFEST_BYTES_MAX: usize = 4 * 1024 * 1024;
/// The most objects in one text.
const OBJECTS_MAX: usize = 10_000;

/// What `up` runs when nobody says otherwise: three brokers and a topic.
pub const BUILT_IN: &str = "\
# A KafkaCluster and a Topic, as `ottla up` runs them when it is given no file.
# The same manifests work on Kubernetes, with the operator installed.
apiVersion: ottla.dev/v1alpha1
kind: KafkaCluster
metadata:
  name: demo
spec:
  replicas: 3
---
apiVersion: ottla.dev/v1alpha1
kind: Topic
metadata:
  name: hello
spec:
  clusterRef:
    name: demo
  partitions: 3
";

/// Why a text isn't manifests.
#[derive(Debug, Error, PartialEq, Eq)]
pub enum ManifestError {
    /// It is neither YAML nor JSON.
    #[error("{source_name} is not valid YAML: {why}")]
    Syntax {
        /// Where the text is from.
        source_name: String,
        /// What the parser said.
        why: String,
    },
    /// There is nothing in it.
    #[error("{source_name} holds no manifest")]
    Empty {
        /// Where the text is from.
        source_name: String,
    },
    /// There is too much in it.
    #[error("{source_name} holds more than {OBJECTS_MAX} objects or {MANIFEST_BYTES_MAX} bytes")]
    TooMuch {
        /// Where the text is from.
        source_name: String,
    },
}

/// Reads every object of `text`; the items of a `List` count as if they stood alone.
///
/// # Errors
/// When the text is no YAML, too large, or empty; `source_name` says where it is from.
pub fn parse_manifests(text: &str, source_name: &str) -> Result<Vec<Value>, ManifestError> {
    let source_name = source_name.to_owned();
    if text.len() > MANIFEST_BYTES_MAX {
        return Err(ManifestError::TooMuch { source_name });
    }
    let documents: Vec<Value> = serde_saphyr::from_multiple(text).map_err(|error| {
        let why = error.to_string().lines().next().unwrap_or_default().to_owned();
        ManifestError::Syntax { source_name: source_name.clone(), why }
    })?;
    let mut objects = Vec::new();
    for document in documents {
        match document.get("items").and_then(Value::as_array) {
            Some(items) if document.get("kind").is_some_and(|kind| kind == "List") => {
                objects.extend(items.iter().cloned());
            }
            _ if document.is_null() => {}
            _ => objects.push(document),
        }
    }
    match objects.len() {
        0 => Err(ManifestError::Empty { source_name }),
        1..=OBJECTS_MAX => Ok(objects),
        _ => Err(ManifestError::TooMuch { source_name }),
    }
}

/// Writes objects as YAML documents.
pub fn to_yaml(objects: &[Value]) -> String {
    let documents: Vec<String> = objects
        .iter()
        .map(|object| serde_saphyr::to_string(object).expect("JSON values are always YAML"))
        .collect();
    documents.join("---\n")
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn documents_lists_and_json_are_read() {
        let text = "a: 1\n---\n---\nkind: List\nitems: [{b: 2}, {c: \"3\"}]\n---\n{\"d\": 4}\n";
        assert_eq!(
            parse_manifests(text, "x"),
            Ok(vec![json!({"a": 1}), json!({"b": 2}), json!({"c": "3"}), json!({"d": 4})])
        );
    }

    #[test]
    fn what_is_wrong_is_said_with_its_source() {
        assert_eq!(
            parse_manifests("# nothing\n", "f.yaml").unwrap_err().to_string(),
            "f.yaml holds no manifest"
        );
        let error = parse_manifests("a: [1, 2", "f.yaml").unwrap_err().to_string();
        assert!(error.starts_with("f.yaml is not valid YAML: "), "{error}");
        assert!(!error.contains('\n'), "{error}");
    }

    #[test]
    fn what_is_written_is_read_again() {
        let objects =
            vec![json!({"a": {"b": ["1", 1, true, null, "yes: no\nnew line"]}}), json!({"c": "1e3"})];
        assert_eq!(parse_manifests(&to_yaml(&objects), "x"), Ok(objects));
    }

    #[test]
    fn the_built_in_manifests_are_valid() {
        for object in parse_manifests(BUILT_IN, "built-in").unwrap() {
            assert_eq!(ottla_api::validate(&object, None), [], "{object}");
        }
    }
}
