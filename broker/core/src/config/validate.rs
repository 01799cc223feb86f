//! Checks values against the table.

use std::collections::BTreeMap;
use std::fmt;

use ottla_types::{BrokerId, PartitionIndex};

use super::table::{ConfigDefinition, ConfigType, Rule, broker_definition, definition};

/// Why a configuration can't be set.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfigError {
    /// The configuration's name, as given.
    pub name: String,
    /// The value, as given.
    pub value: String,
    /// What is wrong with it, and what is allowed.
    pub reason: String,
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "invalid value {:?} for configuration {}: {}", self.value, self.name, self.reason)
    }
}

impl std::error::Error for ConfigError {}

/// The longest value that is kept, in bytes: the longest text that the protocol's older versions carry. The
/// replicas that are throttled during a large move are long lists.
const VALUE_LENGTH_MAX: usize = 32_767;

/// Checks one value of one topic configuration.
///
/// # Errors
/// When there is no such configuration, or the value isn't one that it may have.
pub fn validate(name: &str, value: &str) -> Result<(), ConfigError> {
    let wrong = |reason: String| ConfigError { name: name.to_owned(), value: shortened(value), reason };
    let Some(definition) = definition(name) else {
        return Err(wrong("topics have no configuration of this name".to_owned()));
    };
    if value.len() > VALUE_LENGTH_MAX {
        return Err(wrong(format!("it is longer than {VALUE_LENGTH_MAX} bytes")));
    }
    check(definition, value.trim()).map_err(wrong)
}

/// Checks only that a value is of the definition's type.
pub(crate) fn validate_type(definition: &ConfigDefinition, value: &str) -> Result<(), String> {
    check(&ConfigDefinition { rule: Rule::Any, ..*definition }, value.trim())
}

/// A valid value as it is told: numbers and words without what surrounds them, each item of a list once.
pub fn normal(definition: &ConfigDefinition, value: &str) -> String {
    let value = value.trim();
    let number = || value.parse::<i64>().ok().map(|number| number.to_string());
    let normal = match definition.kind {
        ConfigType::Boolean => Some(value.to_ascii_lowercase()),
        ConfigType::Int | ConfigType::Long => number(),
        ConfigType::Double => value.parse::<f64>().ok().map(|number| format!("{number:?}")),
        ConfigType::String => None,
        ConfigType::List => {
            let mut items: Vec<&str> = Vec::new();
            for item in list(value) {
                if !items.contains(&item) {
                    items.push(item);
                }
            }
            Some(items.join(","))
        }
    };
    normal.unwrap_or_else(|| value.to_owned())
}

/// Checks a whole configuration, also where values must fit each other.
///
/// # Errors
/// The first value that is wrong.
pub fn validate_all(config: &BTreeMap<String, String>) -> Result<(), ConfigError> {
    for (name, value) in config {
        validate(name, value)?;
    }
    let number = |name: &str| config.get(name).and_then(|value| value.trim().parse::<i64>().ok());
    if let (Some(min), Some(max)) = (number("min.compaction.lag.ms"), number("max.compaction.lag.ms"))
        && min > max
    {
        return Err(ConfigError {
            name: "min.compaction.lag.ms".to_owned(),
            value: min.to_string(),
            reason: format!("it must not be greater than max.compaction.lag.ms, which is {max}"),
        });
    }
    Ok(())
}

/// Checks all that is set on a broker while it runs.
///
/// # Errors
/// The first value that is wrong.
pub fn validate_broker(config: &BTreeMap<String, String>) -> Result<(), ConfigError> {
    for (name, value) in config {
        let wrong = |reason: String| ConfigError { name: name.clone(), value: shortened(value), reason };
        let Some(definition) = broker_definition(name) else {
            return Err(wrong(
                "brokers have no configuration of this name that can be set while they run".to_owned(),
            ));
        };
        check(definition, value.trim()).map_err(wrong)?;
    }
    Ok(())
}

fn shortened(value: &str) -> String {
    value.chars().take(100).collect()
}

fn check(definition: &ConfigDefinition, value: &str) -> Result<(), String> {
    match definition.kind {
        ConfigType::Boolean => match value.to_ascii_lowercase().as_str() {
            text @ ("true" | "false") => check_choice(definition.rule, text),
            _ => Err("use true or false".to_owned()),
        },
        ConfigType::Int => {
            let number: i32 = value.parse().map_err(|_| "use a whole number of 32 bits".to_owned())?;
            check_number(definition.rule, i64::from(number))
        }
        ConfigType::Long => {
            let number: i64 = value.parse().map_err(|_| "use a whole number of 64 bits".to_owned())?;
            check_number(definition.rule, number)
        }
        ConfigType::Double => {
            let number: f64 = value.parse().map_err(|_| "use a number".to_owned())?;
            check_fraction(definition.rule, number)
        }
        ConfigType::String => check_choice(definition.rule, value),
        ConfigType::List => {
            if matches!(definition.rule, Rule::Replicas)
                && list(value).count() > 1
                && list(value).any(|item| item == "*")
            {
                return Err("use * alone, or pairs like 0:1, partition and broker".to_owned());
            }
            list(value).try_for_each(|item| check_choice(definition.rule, item))
        }
    }
}

/// The items of a list value, without the blanks around them.
pub(crate) fn list(value: &str) -> impl Iterator<Item = &str> {
    value.split(',').map(str::trim).filter(|item| !item.is_empty())
}

/// An item of a list of replicas, as `0:1`: partition and broker. None if it is something else.
pub(super) fn pair(item: &str) -> Option<(PartitionIndex, BrokerId)> {
    let number = |text: &str| text.parse().ok().filter(|number| *number >= 0);
    let (index, broker) = item.split_once(':')?;
    Some((PartitionIndex(number(index)?), BrokerId(number(broker)?)))
}

fn check_number(rule: Rule, number: i64) -> Result<(), String> {
    match rule {
        Rule::AtLeast(least) if number < least => Err(format!("use at least {least}")),
        Rule::Within(from, to) if !(from..=to).contains(&number) => Err(format!("use {from} to {to}")),
        _ => Ok(()),
    }
}

fn check_fraction(rule: Rule, number: f64) -> Result<(), String> {
    match rule {
        Rule::Between(from, to) if !(from..=to).contains(&number) => Err(format!("use {from} to {to}")),
        _ => Ok(()),
    }
}

fn check_choice(rule: Rule, value: &str) -> Result<(), String> {
    match rule {
        Rule::OneOf(choices) if !choices.contains(&value) => {
            Err(format!("use one of {}", choices.join(", ")))
        }
        Rule::Only(only, why) if value != only => Err(why.to_owned()),
        Rule::Replicas if value != "*" && pair(value).is_none() => {
            Err("use * or pairs like 0:1, partition and broker".to_owned())
        }
        _ => Ok(()),
    }
}
