//! Resources as JSON values.

use serde::Serialize;
use serde_json::Value;

/// An object as JSON.
///
/// # Panics
/// When the type has maps whose keys aren't text. Those of Kubernetes' resources, and ours, all are.
pub fn to_json<T: Serialize>(object: &T) -> Value {
    serde_json::to_value(object).expect("resources have only text as keys")
}
