//! What can go wrong between a client and a cluster.

use ottla_log::{BatchError, RecordError};
use ottla_wire::{ApiKey, DecodeError, EncodeError, ErrorCode};

use crate::CompressionError;

/// Why a call, a record or a fetch failed.
#[derive(Debug, Clone, thiserror::Error)]
pub enum ClientError {
    /// The broker can't be reached or the connection broke.
    #[error("{address}: {reason}")]
    Connection {
        /// `host:port`.
        address: String,
        /// What the system said.
        reason: String,
    },
    /// None of the addresses led to a broker.
    #[error("no broker answers at {addresses}: {last}; is the cluster running, is the address right?")]
    NoBroker {
        /// The addresses that were tried.
        addresses: String,
        /// The last failure.
        last: String,
        /// Whether one took the connection and then said nothing, not even which versions it speaks.
        silent: bool,
    },
    /// No response came in time. Whether the request was carried out is unknown.
    #[error("{address}: no response to {api} within {timeout_ms} ms")]
    Timeout {
        /// `host:port`.
        address: String,
        /// What was asked.
        api: ApiKey,
        /// For how long it was waited.
        timeout_ms: u64,
    },
    /// The broker and we have no version of an API in common.
    #[error("{address} has no version of {api} that we speak")]
    Unsupported {
        /// `host:port`.
        address: String,
        /// The API.
        api: ApiKey,
    },
    /// The broker answered with an error.
    #[error("{what}: {error}{}", message.as_ref().map(|text| format!(": {text}")).unwrap_or_default())]
    Broker {
        /// The topic, partition or call that it is about.
        what: String,
        /// The error.
        error: ErrorCode,
        /// The broker's words.
        message: Option<String>,
    },
    /// A response can't be read.
    #[error("the response to {api} can't be read: {error}")]
    Decode {
        /// The API.
        api: ApiKey,
        /// What is wrong with it.
        error: DecodeError,
    },
    /// A request can't be written.
    #[error("the request can't be written: {0}")]
    Encode(#[from] EncodeError),
    /// A fetched batch is corrupt.
    #[error("{topic}-{partition}: {error}")]
    Batch {
        /// The topic's name.
        topic: String,
        /// The partition's index.
        partition: i32,
        /// What is wrong with it.
        error: BatchError,
    },
    /// A fetched record is malformed.
    #[error("{0}")]
    Record(#[from] RecordError),
    /// A batch can't be compressed or decompressed.
    #[error("{0}")]
    Compression(#[from] CompressionError),
    /// The caller asked for something impossible.
    #[error("{0}")]
    Invalid(String),
}

impl ClientError {
    /// A broker's error.
    pub(crate) fn broker(what: impl Into<String>, error: ErrorCode, message: Option<&str>) -> Self {
        let message = message.filter(|text| !text.is_empty()).map(str::to_owned);
        Self::Broker { what: what.into(), error, message }
    }

    /// Whether a broker took the connection and then said nothing, as one does that isn't in service yet.
    pub fn is_silence(&self) -> bool {
        match self {
            Self::NoBroker { silent, .. } => *silent,
            Self::Timeout { api, .. } => *api == ApiKey::ApiVersions,
            _ => false,
        }
    }

    /// Whether the same may succeed later, perhaps with another broker.
    pub fn is_retriable(&self) -> bool {
        match self {
            Self::Connection { .. } | Self::NoBroker { .. } | Self::Timeout { .. } => true,
            Self::Broker { error, .. } => error.is_retriable(),
            _ => false,
        }
    }

    /// The broker's error code, if it answered with one.
    pub fn error_code(&self) -> Option<ErrorCode> {
        match self {
            Self::Broker { error, .. } => Some(*error),
            _ => None,
        }
    }
}
