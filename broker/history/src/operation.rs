//! One operation of a client, and its line of JSON.
//!
//! ```json
//! {"process":"java-0","start":17,"end":29,"outcome":"ok","steps":[{"send":["orders-0",5,1000]}]}
//! {"process":"go-0","start":31,"end":33,"outcome":"ok","steps":[{"poll":{"orders-0":[[1000,5],[1001,6]]}}]}
//! ```
//!
//! A file holds one operation a line, and any number of files make a history. Every attempt to send stands in
//! it, that of a client which was killed too: a value that is read and that nobody sent is a finding. The
//! polls of one process stand in the order in which it called; how all else is mixed doesn't matter.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// What a client did in one call, or in one transaction.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Operation {
    /// One client: a producer or a consumer. A client that is made anew is another process.
    pub process: String,
    /// When it was called, in nanoseconds of a clock that all processes share.
    pub start: u64,
    /// When its outcome was known, by the same clock.
    pub end: u64,
    /// How it ended.
    pub outcome: Outcome,
    /// What it did, in order. A client without transactions does one thing at a time.
    pub steps: Vec<Step>,
    /// Keys whose position this process was given, by a seek or a rebalance, since its last operation.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub rebalanced: Vec<String>,
    /// Whether this is part of the reading at the end: by a fresh client, of everything that there is.
    #[serde(default, rename = "final", skip_serializing_if = "is_false")]
    pub is_final: bool,
}

/// How an operation ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Outcome {
    /// It was acknowledged.
    Ok,
    /// It certainly was not applied.
    Fail,
    /// Either: a time-out, a broken connection, NOT_ENOUGH_REPLICAS_AFTER_APPEND.
    Unknown,
}

/// One thing that an operation did. A key is a partition, such as `orders-0`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Step {
    /// Key, value, and the offset where it is known. No value is sent twice to one key.
    Send(String, u64, Option<i64>),
    /// For each key that was asked for, the offsets and values that came, in the order in which they came.
    Poll(BTreeMap<String, Vec<(i64, u64)>>),
    /// The client gave what was under way new sequence numbers, by itself: what a broker had by then it takes
    /// for new.
    Renumbered,
}

impl Operation {
    /// Reads a line.
    ///
    /// # Errors
    /// It isn't an operation.
    pub fn from_line(line: &str) -> Result<Operation, serde_json::Error> {
        serde_json::from_str(line)
    }

    /// Writes a line, without its end.
    ///
    /// # Errors
    /// None that is known: an operation has nothing that JSON couldn't say.
    pub fn to_line(&self) -> Result<String, serde_json::Error> {
        serde_json::to_string(self)
    }
}

// serde hands over a reference.
#[allow(clippy::trivially_copy_pass_by_ref)]
fn is_false(flag: &bool) -> bool {
    !flag
}
