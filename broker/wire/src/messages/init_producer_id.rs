//! InitProducerId: an id and epoch for an idempotent or transactional producer.
//!
//! Version 6 (two-phase commits) isn't here: Kafka 4 itself calls it unstable.

use ottla_wire_derive::Message;

/// Asks for a producer id.
#[derive(Debug, Clone, PartialEq, Eq, Message)]
#[kafka(versions = "0-5", flexible = "2+")]
pub struct InitProducerIdRequest<'a> {
    /// The transactional id, null if the producer isn't transactional.
    #[kafka(nullable)]
    pub transactional_id: Option<&'a str>,
    /// After how long an idle transaction is aborted, in milliseconds.
    pub transaction_timeout_ms: i32,
    /// The id that the producer has, -1 if none.
    #[kafka(versions = "3+", default = -1)]
    pub producer_id: i64,
    /// The epoch that the producer has, -1 if none.
    #[kafka(versions = "3+", default = -1)]
    pub producer_epoch: i16,
}

/// The producer id.
#[derive(Debug, Clone, PartialEq, Eq, Message)]
#[kafka(versions = "0-5", flexible = "2+")]
pub struct InitProducerIdResponse {
    /// For how long the request was delayed by a quota, in milliseconds.
    pub throttle_time_ms: i32,
    /// The error code.
    pub error_code: i16,
    /// The producer's id.
    #[kafka(default = -1)]
    pub producer_id: i64,
    /// Its epoch.
    pub producer_epoch: i16,
}
