//! Configuration: Kafka's `server.properties`, environment and flags, parsed once into types that can't be
//! wrong.
//!
//! Read [`Config`] first. Not here: what the broker does with it.

mod groups;
mod ignored;
mod kind;
mod listeners;
mod properties;
mod source;
mod table;
mod typed;

pub use groups::{CoordinatorConfig, GroupSettings, OffsetsTopic};
pub use ignored::{KafkaType, all_ignored, ignored};
pub use kind::{Kind, Value};
pub use listeners::{HostPort, Listener, Listeners, Voter};
pub use properties::text;
pub use source::{ConfigError, ENVIRONMENT_PREFIX, Given, Place, Sources, Values};
pub use table::{SETTINGS, Setting, setting};
pub use typed::{Config, ConnectionLimits, FetchLimits, LogFormat, Roles, TopicDefaults};
