//! AlterConfigs: replaces all settings of topics. What isn't named goes back to its default.

use ottla_wire_derive::Message;

use super::{AlterConfigsResourceResponse, NamedConfig};

/// Asks for settings as a whole.
#[derive(Debug, Clone, PartialEq, Eq, Message)]
#[kafka(versions = "0-2", flexible = "2+")]
pub struct AlterConfigsRequest<'a> {
    /// The topics and brokers.
    pub resources: Vec<AlterConfigsResource<'a>>,
    /// Whether only to say what would happen.
    pub validate_only: bool,
}

/// A topic or broker and its settings.
#[derive(Debug, Clone, PartialEq, Eq, Message)]
pub struct AlterConfigsResource<'a> {
    /// `RESOURCE_TOPIC`, `RESOURCE_BROKER` or another.
    pub resource_type: i8,
    /// The topic's name or the broker's node id.
    pub resource_name: &'a str,
    /// All that is to be set on it.
    pub configs: Vec<NamedConfig<'a>>,
}

/// What became of each.
#[derive(Debug, Clone, PartialEq, Eq, Message)]
#[kafka(versions = "0-2", flexible = "2+")]
pub struct AlterConfigsResponse<'a> {
    /// For how long the request was delayed by a quota, in milliseconds.
    pub throttle_time_ms: i32,
    /// The topics and brokers.
    pub responses: Vec<AlterConfigsResourceResponse<'a>>,
}
