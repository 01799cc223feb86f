//! DescribeConfigs: the settings of topics and brokers.

use std::borrow::Cow;

use ottla_wire_derive::Message;

/// Asks for settings.
#[derive(Debug, Clone, PartialEq, Eq, Message)]
#[kafka(versions = "1-4", flexible = "4+")]
pub struct DescribeConfigsRequest<'a> {
    /// The topics and brokers.
    pub resources: Vec<DescribeConfigsResource<'a>>,
    /// Whether to tell where else each setting is set.
    pub include_synonyms: bool,
    /// Whether to tell what each setting means.
    #[kafka(versions = "3+")]
    pub include_documentation: bool,
}

/// A topic or broker asked for.
#[derive(Debug, Clone, PartialEq, Eq, Message)]
pub struct DescribeConfigsResource<'a> {
    /// `RESOURCE_TOPIC`, `RESOURCE_BROKER` or another.
    pub resource_type: i8,
    /// The topic's name or the broker's node id.
    pub resource_name: &'a str,
    /// The settings asked for; null for all.
    #[kafka(nullable)]
    pub configuration_keys: Option<Vec<&'a str>>,
}

/// The settings.
#[derive(Debug, Clone, PartialEq, Eq, Message)]
#[kafka(versions = "1-4", flexible = "4+")]
pub struct DescribeConfigsResponse<'a> {
    /// For how long the request was delayed by a quota, in milliseconds.
    pub throttle_time_ms: i32,
    /// The topics and brokers.
    pub results: Vec<DescribeConfigsResult<'a>>,
}

/// The settings of one topic or broker.
#[derive(Debug, Clone, PartialEq, Eq, Message)]
pub struct DescribeConfigsResult<'a> {
    /// The error code.
    pub error_code: i16,
    /// The error in words.
    #[kafka(nullable)]
    pub error_message: Option<Cow<'a, str>>,
    /// As in the request.
    pub resource_type: i8,
    /// As in the request.
    pub resource_name: Cow<'a, str>,
    /// The settings.
    pub configs: Vec<DescribeConfigsResourceResult<'a>>,
}

/// One setting.
#[derive(Debug, Clone, PartialEq, Eq, Message)]
pub struct DescribeConfigsResourceResult<'a> {
    /// The setting's name.
    pub name: Cow<'a, str>,
    /// Its value; null if it is secret or unset.
    #[kafka(nullable)]
    pub value: Option<Cow<'a, str>>,
    /// Whether it can't be changed.
    pub read_only: bool,
    /// Where it comes from: 1 the topic, 4 the broker's file, 5 the default; -1 unknown.
    #[kafka(default = -1)]
    pub config_source: i8,
    /// Whether it is secret.
    pub is_sensitive: bool,
    /// Where else it is set.
    pub synonyms: Vec<DescribeConfigsSynonym<'a>>,
    /// Its type: 1 boolean, 2 string, 3 int, 4 short, 5 long, 6 double, 7 list, 8 class, 9 password; 0
    /// unknown.
    #[kafka(versions = "3+")]
    pub config_type: i8,
    /// What it means.
    #[kafka(versions = "3+", nullable = "3+")]
    pub documentation: Option<Cow<'a, str>>,
}

/// Another place where a setting is set.
#[derive(Debug, Clone, PartialEq, Eq, Message)]
pub struct DescribeConfigsSynonym<'a> {
    /// The setting's name there.
    pub name: Cow<'a, str>,
    /// Its value there.
    #[kafka(nullable)]
    pub value: Option<Cow<'a, str>>,
    /// Which place: see [`DescribeConfigsResourceResult::config_source`].
    pub source: i8,
}
