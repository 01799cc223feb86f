//! DescribeCluster: the brokers, for administrators.

use std::borrow::Cow;

use ottla_wire_derive::Message;

use super::AUTHORIZED_OPERATIONS_OMITTED;

/// Asks for the cluster's brokers.
#[derive(Debug, Clone, PartialEq, Eq, Message)]
#[kafka(versions = "0-2", flexible = "0+")]
pub struct DescribeClusterRequest {
    /// Whether the response says what the client may do with the cluster.
    pub include_cluster_authorized_operations: bool,
    /// Whose endpoints: 1 the brokers', 2 the controllers'.
    #[kafka(versions = "1+", default = 1)]
    pub endpoint_type: i8,
    /// Whether fenced brokers are told too.
    #[kafka(versions = "2+")]
    pub include_fenced_brokers: bool,
}

/// The cluster's brokers.
#[derive(Debug, Clone, PartialEq, Eq, Message)]
#[kafka(versions = "0-2", flexible = "0+")]
pub struct DescribeClusterResponse<'a> {
    /// For how long the request was delayed by a quota, in milliseconds.
    pub throttle_time_ms: i32,
    /// The error code.
    pub error_code: i16,
    /// The error in words.
    #[kafka(nullable)]
    pub error_message: Option<Cow<'a, str>>,
    /// As in the request.
    #[kafka(versions = "1+", default = 1)]
    pub endpoint_type: i8,
    /// The cluster's id.
    pub cluster_id: Cow<'a, str>,
    /// The node id of the controller, -1 if unknown.
    #[kafka(default = -1)]
    pub controller_id: i32,
    /// The brokers.
    pub brokers: Vec<DescribeClusterBroker<'a>>,
    /// What the client may do with the cluster, as bits.
    #[kafka(default = AUTHORIZED_OPERATIONS_OMITTED)]
    pub cluster_authorized_operations: i32,
}

/// A broker and where it can be reached.
#[derive(Debug, Clone, PartialEq, Eq, Message)]
pub struct DescribeClusterBroker<'a> {
    /// The node id.
    pub broker_id: i32,
    /// Its host name.
    pub host: Cow<'a, str>,
    /// Its port.
    pub port: i32,
    /// Its rack, if it has one.
    #[kafka(nullable)]
    pub rack: Option<Cow<'a, str>>,
    /// Whether it is fenced.
    #[kafka(versions = "2+")]
    pub is_fenced: bool,
}
