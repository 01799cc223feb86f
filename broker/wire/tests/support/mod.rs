//! Brings what `{:?}` prints of our messages and of the oracle's to one form: the names of the fields and
//! their plain values, so that a field under a wrong name is noticed even where the bytes agree.

/// Fields that only the oracle has (version 6 of InitProducerId is unstable), that it doesn't have yet, and
/// ids, which it prints otherwise.
const LEFT_OUT: [&str; 10] = [
    "ack_when_committed",
    "is_cordoned",
    "unknown_tagged_fields",
    "enable_2_pc",
    "keep_prepared_txn",
    "ongoing_txn_producer_id",
    "ongoing_txn_producer_epoch",
    "topic_id",
    "replica_directory_id",
    "voter_directory_id",
];

/// The form that both are compared in.
///
/// Left out: newtypes' names, `Some`, how bytes, ids and empty or null values are printed (the bytes on the
/// wire tell those apart).
pub fn normal(debug: &str) -> String {
    let mut out = String::new();
    let mut rest = debug;
    while let Some((name, after)) = next_field(rest) {
        let value = after.trim_start();
        rest = after;
        if LEFT_OUT.contains(&name) {
            continue;
        }
        if value.starts_with(|c: char| c == '-' || c.is_ascii_digit()) {
            let digits = value.find(|c: char| c != '-' && !c.is_ascii_digit()).unwrap_or(value.len());
            out.push_str(&format!("{name}={} ", &value[..digits]));
        } else if let Some(number) = newtype_number(value) {
            out.push_str(&format!("{name}={number} "));
        } else if value.starts_with("true") || value.starts_with("false") {
            out.push_str(&format!("{name}={} ", &value[..4]));
        } else {
            out.push_str(&format!("{name} "));
        }
    }
    out
}

/// The next `name:` outside of a string, and what follows it.
fn next_field(text: &str) -> Option<(&str, &str)> {
    let mut start = None;
    let mut in_string = false;
    let mut escaped = false;
    for (index, c) in text.char_indices() {
        if in_string {
            in_string = escaped || c != '"';
            escaped = !escaped && c == '\\';
        } else if c == '"' {
            in_string = true;
        } else if c == ':' {
            if let Some(start) = start {
                return Some((&text[start..index], &text[index + 1..]));
            }
        } else if c.is_ascii_alphanumeric() || c == '_' {
            start = start.or(Some(index));
        } else {
            start = None;
        }
    }
    None
}

/// The number in `BrokerId(3)`.
fn newtype_number(value: &str) -> Option<&str> {
    let (name, rest) = value.split_once('(')?;
    let number = rest.split(')').next()?;
    let is_name = name.chars().all(|c| c.is_ascii_alphabetic());
    (is_name && number.parse::<i64>().is_ok()).then_some(number)
}
