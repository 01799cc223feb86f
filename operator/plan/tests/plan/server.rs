//! As much of the API server as plans can tell: who owns which fields of what was applied.

use ottla_plan::{FIELD_MANAGER, PlannedObject};
use serde_json::{Map, Value, json};

/// The object as it is there once the operator has applied it.
pub fn applied(object: &PlannedObject) -> Value {
    let mut live = object.body.clone();
    let entry = json!({"manager": FIELD_MANAGER, "operation": "Apply", "fieldsType": "FieldsV1",
        "fieldsV1": fields(&object.body)});
    live["metadata"]["managedFields"] = json!([entry]);
    live
}

// Lists are owned as a whole here; how their items are is tested beside the code.
fn fields(value: &Value) -> Value {
    let Value::Object(values) = value else { return json!({}) };
    let field = |(key, value): (&String, &Value)| (format!("f:{key}"), fields(value));
    Value::Object(values.iter().map(field).collect::<Map<_, _>>())
}
