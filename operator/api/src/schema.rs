//! The plain half of validation: types, required and unknown fields, enums and sizes, in the words
//! that the API server uses for them. The other half is CEL (`validate.rs`).

use std::fmt;

use schemars::{Schema, SchemaGenerator, json_schema};
use serde_json::{Map, Value};

/// Something that admission would refuse.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Violation {
    /// The path of the field, as in `spec.listeners[1].port`; empty for the object as a whole.
    pub field: String,
    /// What is wrong and what is allowed.
    pub message: String,
}

impl Violation {
    pub(crate) fn new(field: &str, message: impl Into<String>) -> Self {
        Self { field: field.to_owned(), message: message.into() }
    }
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.message.starts_with(&self.field) {
            f.write_str(&self.message)
        } else {
            write!(f, "{}: {}", self.field, self.message)
        }
    }
}

/// A free map of settings: numbers or text, bounded so that rules over it stay cheap.
pub(crate) fn config_map(_: &mut SchemaGenerator) -> Schema {
    json_schema!({
        "type": "object",
        "maxProperties": 256,
        "additionalProperties": {"x-kubernetes-int-or-string": true},
    })
}

/// Removes nulls where the schema doesn't ask for them, as the API server does.
pub(crate) fn without_nulls(value: &Value) -> Value {
    match value {
        Value::Object(fields) => Value::Object(
            fields.iter().filter(|(_, v)| !v.is_null()).map(|(k, v)| (k.clone(), without_nulls(v))).collect(),
        ),
        Value::Array(items) => Value::Array(items.iter().map(without_nulls).collect()),
        other => other.clone(),
    }
}

/// Checks `value` at `path` against `schema`, adding to `found`.
pub(crate) fn check(schema: &Value, value: &Value, path: &str, found: &mut Vec<Violation>) {
    if schema.get("x-kubernetes-int-or-string") == Some(&Value::Bool(true)) {
        // The API server's integers have 64 bits.
        if !(value.is_string() || value.is_i64()) {
            let given = type_name(value);
            found.push(Violation::new(
                path,
                format!(
                    "Invalid value: \"{given}\": {path} in body must be of type integer or string: \"{given}\" (put it in quotes)"
                ),
            ));
        }
        return;
    }
    let Some(expected) = schema.get("type").and_then(Value::as_str) else { return };
    if !has_type(value, expected) {
        let given = type_name(value);
        found.push(Violation::new(
            path,
            format!("Invalid value: \"{given}\": {path} in body must be of type {expected}: \"{given}\""),
        ));
        return;
    }
    check_enum(schema, value, path, found);
    match value {
        Value::Object(fields) => check_object(schema, fields, path, found),
        Value::Array(items) => check_array(schema, items, path, found),
        Value::String(text) => {
            let length = text.chars().count();
            if let Some(most) = limit(schema, "maxLength").filter(|most| length > *most) {
                found.push(Violation::new(path, format!("Too long: may not be more than {most} bytes")));
            }
            if let Some(least) = limit(schema, "minLength").filter(|least| length < *least) {
                found.push(Violation::new(
                    path,
                    format!("Invalid value: {text:?}: {path} in body should be at least {least} chars long"),
                ));
            }
        }
        _ => {}
    }
}

fn check_enum(schema: &Value, value: &Value, path: &str, found: &mut Vec<Violation>) {
    let Some(allowed) = schema.get("enum").and_then(Value::as_array) else { return };
    if !allowed.contains(value) {
        let names: Vec<String> = allowed.iter().map(Value::to_string).collect();
        found.push(Violation::new(
            path,
            format!("Unsupported value: {value}: supported values: {}", names.join(", ")),
        ));
    }
}

fn check_object(schema: &Value, fields: &Map<String, Value>, path: &str, found: &mut Vec<Violation>) {
    for name in
        schema.get("required").and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_str)
    {
        if !fields.contains_key(name) {
            found.push(Violation::new(&join(path, name), "Required value"));
        }
    }
    if let Some(most) = limit(schema, "maxProperties").filter(|most| fields.len() > *most) {
        let given = fields.len();
        found.push(Violation::new(path, format!("Too many: {given}: must have at most {most} items")));
    }
    let known = schema.get("properties").and_then(Value::as_object);
    let others = schema.get("additionalProperties").filter(|s| s.is_object());
    let keeps_unknown = schema.get("x-kubernetes-preserve-unknown-fields") == Some(&Value::Bool(true));
    for (name, value) in fields {
        let at = join(path, name);
        match known.and_then(|k| k.get(name)).or(others) {
            Some(schema) => check(schema, value, &at, found),
            // A bare object, as metadata is here, is checked by its own rules.
            None if keeps_unknown || (known.is_none() && others.is_none()) => {}
            None => found.push(Violation::new(&at, format!("unknown field \"{at}\""))),
        }
    }
}

fn check_array(schema: &Value, items: &[Value], path: &str, found: &mut Vec<Violation>) {
    if let Some(most) = limit(schema, "maxItems").filter(|most| items.len() > *most) {
        let given = items.len();
        found.push(Violation::new(path, format!("Too many: {given}: must have at most {most} items")));
    }
    if let Some(least) = limit(schema, "minItems").filter(|least| items.len() < *least) {
        let given = items.len();
        found.push(Violation::new(
            path,
            format!("Invalid value: {given}: {path} in body should have at least {least} items"),
        ));
    }
    if let Some(schema) = schema.get("items") {
        for (index, item) in items.iter().enumerate() {
            check(schema, item, &format!("{path}[{index}]"), found);
        }
    }
    let keys = schema.get("x-kubernetes-list-map-keys").and_then(Value::as_array);
    for key in keys.into_iter().flatten().filter_map(Value::as_str) {
        for (index, item) in items.iter().enumerate() {
            if items[..index].iter().any(|earlier| earlier.get(key) == item.get(key)) {
                let given = item.get(key).cloned().unwrap_or_default();
                found.push(Violation::new(
                    &format!("{path}[{index}]"),
                    format!("Duplicate value: {{{key:?}:{given}}}"),
                ));
            }
        }
    }
}

fn limit(schema: &Value, name: &str) -> Option<usize> {
    schema.get(name).and_then(Value::as_u64).and_then(|n| usize::try_from(n).ok())
}

fn join(path: &str, name: &str) -> String {
    if path.is_empty() { name.to_owned() } else { format!("{path}.{name}") }
}

fn has_type(value: &Value, expected: &str) -> bool {
    match expected {
        "object" => value.is_object(),
        "array" => value.is_array(),
        "string" => value.is_string(),
        "boolean" => value.is_boolean(),
        "integer" => value.is_i64() || value.is_u64(),
        "number" => value.is_number(),
        _ => true,
    }
}

fn type_name(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "boolean",
        Value::Number(n) if n.is_f64() => "number",
        Value::Number(_) => "integer",
        Value::String(_) => "string",
        Value::Array(_) => "array",
        Value::Object(_) => "object",
    }
}
