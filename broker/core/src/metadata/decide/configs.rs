//! Configurations of topics, and of brokers while they run.

use std::collections::{BTreeMap, BTreeSet};

use super::super::command::{
    AlterBrokerConfigs, AlterTopicConfigs, BrokerConfigChange, ConfigChange, ConfigOperation,
    TopicConfigChange,
};
use super::super::image::{MetadataImage, TopicImage};
use super::super::record::Record;
use super::super::reply::{Reply, TopicError, TopicErrorKind, TopicResult};
use super::Draft;
use super::refusals::unknown_topic;
use crate::config::{self, ConfigDefinition, ConfigType};

impl MetadataImage {
    pub(super) fn alter_topic_configs(&self, command: &AlterTopicConfigs) -> (Vec<Record>, Reply) {
        let mut draft = Draft::new(self);
        let mut seen = BTreeSet::new();
        let results = command.topics.iter().map(|change| {
            if !seen.insert(&change.name) {
                let message = format!("topic {:?} is named twice", change.name);
                return Err(TopicError::new(TopicErrorKind::InvalidRequest, message));
            }
            draft.alter(change)
        });
        let reply = Reply::TopicConfigsAltered(results.collect());
        (if command.validate_only { vec![] } else { draft.records }, reply)
    }
}

impl Draft {
    fn alter(&mut self, change: &TopicConfigChange) -> TopicResult<()> {
        let topic = self.image.topic(&change.name).ok_or_else(|| unknown_topic(&change.name))?;
        let config = match &change.change {
            ConfigChange::Replace(config) => config.clone(),
            ConfigChange::Incremental(operations) => operations
                .iter()
                .try_fold(topic.config.clone(), |config, (key, operation)| {
                    let definition = config::definition(key).ok_or_else(|| {
                        format!("topics have no configuration {key:?}: see the list of topic configurations")
                    });
                    operate(config, key, definition, operation)
                })
                .map_err(invalid_config)?,
        };
        checked(&config)?;
        let topic = topic.clone();
        self.configure(&topic, config);
        Ok(())
    }

    /// Gives a topic this configuration, which was checked.
    ///
    /// When `min.insync.replicas` falls, an ISR may be large enough at once: the high watermark may then move
    /// past the replicas that were eligible, so their eligibility ends in the same entry of the log, before
    /// any leader knows.
    pub(super) fn configure(&mut self, topic: &TopicImage, config: BTreeMap<String, String>) {
        if config == topic.config {
            return;
        }
        self.push(Record::TopicConfigured { topic: topic.id, config });
        let topic = self.image.topics[&topic.id].clone();
        let changes = topic
            .numbered()
            .filter_map(|(index, partition)| self.image.change_to(&topic, index, partition.clone()));
        let changes = changes.collect();
        self.change(changes);
    }
}

impl MetadataImage {
    pub(super) fn alter_broker_configs(&self, command: &AlterBrokerConfigs) -> (Vec<Record>, Reply) {
        let mut draft = Draft::new(self);
        let mut seen = BTreeSet::new();
        let results = command.brokers.iter().map(|change| {
            if !seen.insert(change.id) {
                let message = "a broker is named twice".to_owned();
                return Err(TopicError::new(TopicErrorKind::InvalidRequest, message));
            }
            draft.alter_broker(change)
        });
        let reply = Reply::BrokerConfigsAltered(results.collect());
        (if command.validate_only { vec![] } else { draft.records }, reply)
    }
}

impl Draft {
    fn alter_broker(&mut self, change: &BrokerConfigChange) -> TopicResult<()> {
        if let Some(id) = change.id
            && self.image.broker(id).is_none()
        {
            let message = format!("broker {id} is not registered");
            return Err(TopicError::new(TopicErrorKind::InvalidRequest, message));
        }
        let present = self.image.broker_configs.get(&change.id).cloned().unwrap_or_default();
        let config = match &change.change {
            ConfigChange::Replace(config) => config.clone(),
            ConfigChange::Incremental(operations) => operations
                .iter()
                .try_fold(present.clone(), |config, (key, operation)| {
                    let definition = config::broker_definition(key).ok_or_else(|| {
                        format!("brokers have no configuration {key:?} that can be set while they run")
                    });
                    operate(config, key, definition, operation)
                })
                .map_err(invalid_config)?,
        };
        config::validate_broker(&config).map_err(|error| invalid_config(error.to_string()))?;
        if let (Some(id), Some(name)) = (change.id, config.keys().find(|name| config::is_cluster_wide(name)))
        {
            return Err(invalid_config(format!("{name} is set on all brokers, not on broker {id} alone")));
        }
        if config != present {
            let settles = config.keys().chain(present.keys()).any(|name| config::is_cluster_wide(name));
            self.push(Record::BrokerConfigured { id: change.id, config });
            if settles {
                self.settle(|_| true, |_, _| {});
            }
        }
        Ok(())
    }
}

/// A configuration without values of none, checked.
pub(super) fn new_config(given: &[(String, Option<String>)]) -> TopicResult<BTreeMap<String, String>> {
    let set = given.iter().map(|(name, value)| match value {
        Some(value) => Ok((name.clone(), value.clone())),
        None => Err(invalid_config(format!("{name} has no value: give it one, or leave it out"))),
    });
    let config = set.collect::<TopicResult<BTreeMap<String, String>>>()?;
    checked(&config)?;
    Ok(config)
}

/// Checks a topic's whole configuration.
pub(super) fn checked(config: &BTreeMap<String, String>) -> TopicResult<()> {
    config::validate_all(config).map_err(|error| invalid_config(error.to_string()))
}

fn invalid_config(message: String) -> TopicError {
    TopicError::new(TopicErrorKind::InvalidConfig, message)
}

/// Does one operation on the configuration `key`, whose definition may be unknown: to take away what isn't
/// there is no mistake, whatever it is called.
fn operate(
    mut config: BTreeMap<String, String>,
    key: &str,
    definition: Result<&ConfigDefinition, String>,
    operation: &ConfigOperation,
) -> Result<BTreeMap<String, String>, String> {
    match operation {
        ConfigOperation::Delete => {
            config.remove(key);
        }
        ConfigOperation::Set(value) => {
            definition?;
            config.insert(key.to_owned(), value.clone());
        }
        ConfigOperation::Append(value) => {
            let mut all = present_items(&config, definition?)?;
            let added: Vec<String> = items(value).filter(|item| !all.contains(item)).collect();
            all.extend(added);
            config.insert(key.to_owned(), all.join(","));
        }
        ConfigOperation::Subtract(value) => {
            let taken: Vec<String> = items(value).collect();
            let all = present_items(&config, definition?)?;
            let rest: Vec<String> = all.into_iter().filter(|item| !taken.contains(item)).collect();
            config.insert(key.to_owned(), rest.join(","));
        }
    }
    Ok(config)
}

fn items(text: &str) -> impl Iterator<Item = String> {
    config::list(text).map(str::to_owned)
}

/// The items that a list has, by its default if it isn't set.
fn present_items(
    config: &BTreeMap<String, String>,
    definition: &ConfigDefinition,
) -> Result<Vec<String>, String> {
    let key = definition.name;
    match definition.kind {
        ConfigType::List => Ok(items(config.get(key).map_or(definition.default, String::as_str)).collect()),
        _ => Err(format!("{key} is no list: set it instead of adding to it or taking from it")),
    }
}
