//! Structs that more than one message has.

use std::borrow::Cow;

use ottla_wire_derive::Message;

/// What stands for "not asked for" in a field of authorized operations.
pub const AUTHORIZED_OPERATIONS_OMITTED: i32 = i32::MIN;

/// The leader of a partition as a Produce or Fetch response hints at it.
#[derive(Debug, Clone, PartialEq, Eq, Message)]
pub struct LeaderIdAndEpoch {
    /// The leader's node id, -1 if unknown.
    #[kafka(default = -1)]
    pub leader_id: i32,
    /// The leader's epoch, -1 if unknown.
    #[kafka(default = -1)]
    pub leader_epoch: i32,
}

/// Where the leaders named by [`LeaderIdAndEpoch`] can be reached.
#[derive(Debug, Clone, PartialEq, Eq, Message)]
pub struct NodeEndpoint<'a> {
    /// The node id.
    pub node_id: i32,
    /// Its host name.
    pub host: Cow<'a, str>,
    /// Its port.
    pub port: i32,
    /// Its rack, if it has one.
    #[kafka(nullable)]
    pub rack: Option<Cow<'a, str>>,
}

/// The `resource_type` of a topic, where settings are told or changed.
pub const RESOURCE_TOPIC: i8 = 2;
/// The `resource_type` of a broker; the name of all of them is empty.
pub const RESOURCE_BROKER: i8 = 4;

/// A setting by name, as CreateTopics and AlterConfigs have it.
#[derive(Debug, Clone, PartialEq, Eq, Message)]
pub struct NamedConfig<'a> {
    /// The setting's name.
    pub name: &'a str,
    /// Its value.
    #[kafka(nullable)]
    pub value: Option<&'a str>,
}

/// What became of the settings of one topic or broker.
#[derive(Debug, Clone, PartialEq, Eq, Message)]
pub struct AlterConfigsResourceResponse<'a> {
    /// The error code.
    pub error_code: i16,
    /// The error in words.
    #[kafka(nullable)]
    pub error_message: Option<Cow<'a, str>>,
    /// As in the request.
    pub resource_type: i8,
    /// As in the request.
    pub resource_name: Cow<'a, str>,
}
