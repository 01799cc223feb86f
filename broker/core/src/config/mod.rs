//! The configurations of topics: one table says their names, types, defaults, limits and whether they act
//! here.
//!
//! It is the source of DescribeConfigs, of validation and of the reference page. Not here: a broker's own
//! settings (listeners, folders …), which the server parses.

mod resolve;
mod table;
mod throttle;
mod validate;

#[cfg(test)]
mod tests;

pub use resolve::{AckDurability, BrokerDefaults, ConfigSource, ConfigValue, TopicConfig, describe};
pub use table::{
    BROKER_CONFIGS, ConfigDefinition, ConfigType, Effect, Rule, Synonym, TOPIC_CONFIGS, broker_definition,
    definition, is_cluster_wide,
};
pub use throttle::ThrottledReplicas;
pub use validate::{ConfigError, normal, validate, validate_all, validate_broker};

pub(crate) use validate::list;
