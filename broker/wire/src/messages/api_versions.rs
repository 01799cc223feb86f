//! ApiVersions: which APIs and versions the broker has.

use std::borrow::Cow;

use ottla_wire_derive::Message;

/// Asks for the broker's APIs; the first request on a connection.
#[derive(Debug, Clone, PartialEq, Eq, Message)]
#[kafka(versions = "0-4", flexible = "3+")]
pub struct ApiVersionsRequest<'a> {
    /// The name of the client's library.
    #[kafka(versions = "3+")]
    pub client_software_name: &'a str,
    /// Its version.
    #[kafka(versions = "3+")]
    pub client_software_version: &'a str,
}

/// The broker's APIs. Its header is always of version 0.
#[derive(Debug, Clone, PartialEq, Eq, Message)]
#[kafka(versions = "0-4", flexible = "3+")]
pub struct ApiVersionsResponse<'a> {
    /// The error code.
    pub error_code: i16,
    /// The APIs.
    pub api_keys: Vec<ApiVersion>,
    /// For how long the request was delayed by a quota, in milliseconds.
    #[kafka(versions = "1+")]
    pub throttle_time_ms: i32,
    /// The features that the broker supports.
    #[kafka(versions = "3+", tag = 0)]
    pub supported_features: Vec<SupportedFeatureKey<'a>>,
    /// The epoch of the finalized features, -1 if unknown.
    #[kafka(versions = "3+", tag = 1, default = -1)]
    pub finalized_features_epoch: i64,
    /// The features that the cluster has agreed on.
    #[kafka(versions = "3+", tag = 2)]
    pub finalized_features: Vec<FinalizedFeatureKey<'a>>,
    /// Whether a migration from ZooKeeper can start; never.
    #[kafka(versions = "3+", tag = 3)]
    pub zk_migration_ready: bool,
}

/// The versions of one API.
#[derive(Debug, Clone, PartialEq, Eq, Message)]
pub struct ApiVersion {
    /// The API key.
    pub api_key: i16,
    /// The oldest version.
    pub min_version: i16,
    /// The newest version.
    pub max_version: i16,
}

/// A feature that the broker supports.
#[derive(Debug, Clone, PartialEq, Eq, Message)]
pub struct SupportedFeatureKey<'a> {
    /// The feature's name.
    pub name: Cow<'a, str>,
    /// The lowest level.
    pub min_version: i16,
    /// The highest level.
    pub max_version: i16,
}

/// A feature that the cluster has agreed on.
#[derive(Debug, Clone, PartialEq, Eq, Message)]
pub struct FinalizedFeatureKey<'a> {
    /// The feature's name.
    pub name: Cow<'a, str>,
    /// The highest level.
    pub max_version_level: i16,
    /// The lowest level.
    pub min_version_level: i16,
}
