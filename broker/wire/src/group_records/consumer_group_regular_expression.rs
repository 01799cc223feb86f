//! ConsumerGroupRegularExpression: the topics that match a pattern which members of a group read.

use ottla_wire_derive::Message;

/// Which pattern of which group.
#[derive(Debug, Clone, PartialEq, Eq, Message)]
#[kafka(versions = "0", flexible = "none")]
pub struct ConsumerGroupRegularExpressionKey<'a> {
    /// The group.
    pub group_id: &'a str,
    /// The pattern.
    pub regular_expression: &'a str,
}

/// What it matches.
#[derive(Debug, Clone, PartialEq, Eq, Message)]
#[kafka(versions = "0", flexible = "0+")]
pub struct ConsumerGroupRegularExpressionValue<'a> {
    /// The topics' names.
    pub topics: Vec<&'a str>,
    /// The version of the metadata that it was matched with.
    pub version: i64,
    /// When it was matched, in milliseconds since 1970.
    pub timestamp: i64,
}
