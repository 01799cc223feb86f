//! IncrementalAlterConfigs: changes single settings of topics.

use ottla_wire_derive::Message;

use super::AlterConfigsResourceResponse;

/// The `config_operation` that sets a value.
pub const CONFIG_SET: i8 = 0;
/// The `config_operation` that goes back to the default.
pub const CONFIG_DELETE: i8 = 1;
/// The `config_operation` that adds to a list.
pub const CONFIG_APPEND: i8 = 2;
/// The `config_operation` that takes from a list.
pub const CONFIG_SUBTRACT: i8 = 3;

/// Asks for other settings.
#[derive(Debug, Clone, PartialEq, Eq, Message)]
#[kafka(versions = "0-1", flexible = "1+")]
pub struct IncrementalAlterConfigsRequest<'a> {
    /// The topics and brokers.
    pub resources: Vec<IncrementalAlterConfigsResource<'a>>,
    /// Whether only to say what would happen.
    pub validate_only: bool,
}

/// A topic or broker and what changes of its settings.
#[derive(Debug, Clone, PartialEq, Eq, Message)]
pub struct IncrementalAlterConfigsResource<'a> {
    /// `RESOURCE_TOPIC`, `RESOURCE_BROKER` or another.
    pub resource_type: i8,
    /// The topic's name or the broker's node id.
    pub resource_name: &'a str,
    /// The settings.
    pub configs: Vec<IncrementalAlterConfig<'a>>,
}

/// The change of one setting.
#[derive(Debug, Clone, PartialEq, Eq, Message)]
pub struct IncrementalAlterConfig<'a> {
    /// The setting's name.
    pub name: &'a str,
    /// [`CONFIG_SET`], [`CONFIG_DELETE`], [`CONFIG_APPEND`] or [`CONFIG_SUBTRACT`].
    pub config_operation: i8,
    /// Its value.
    #[kafka(nullable)]
    pub value: Option<&'a str>,
}

/// What became of each.
#[derive(Debug, Clone, PartialEq, Eq, Message)]
#[kafka(versions = "0-1", flexible = "1+")]
pub struct IncrementalAlterConfigsResponse<'a> {
    /// For how long the request was delayed by a quota, in milliseconds.
    pub throttle_time_ms: i32,
    /// The topics and brokers.
    pub responses: Vec<AlterConfigsResourceResponse<'a>>,
}
