//! UnregisterBroker: makes the cluster forget a broker that is gone for good.

use std::borrow::Cow;

use ottla_wire_derive::Message;

/// Asks to forget a broker.
#[derive(Debug, Clone, PartialEq, Eq, Message)]
#[kafka(versions = "0", flexible = "0+")]
pub struct UnregisterBrokerRequest {
    /// Its node id.
    pub broker_id: i32,
}

/// What became of it.
#[derive(Debug, Clone, PartialEq, Eq, Message)]
#[kafka(versions = "0", flexible = "0+")]
pub struct UnregisterBrokerResponse<'a> {
    /// For how long the request was delayed by a quota, in milliseconds.
    pub throttle_time_ms: i32,
    /// The error code.
    pub error_code: i16,
    /// The error in words.
    #[kafka(nullable)]
    pub error_message: Option<Cow<'a, str>>,
}
