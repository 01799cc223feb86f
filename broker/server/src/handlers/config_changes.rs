//! Changing the settings of topics and, while they run, of brokers: what AlterConfigs and
//! IncrementalAlterConfigs have in common.

use std::borrow::Cow;
use std::collections::{BTreeSet, HashSet};

use ottla_core::metadata::{
    AlterBrokerConfigs, AlterTopicConfigs, BrokerConfigChange, Command, ConfigChange, Reply,
    TopicConfigChange, TopicResult,
};
use ottla_types::BrokerId;
use ottla_wire::ErrorCode;
use ottla_wire::messages::{AlterConfigsResourceResponse, RESOURCE_BROKER, RESOURCE_TOPIC};

use super::commands::{Failure, submit};
use super::duplicates::repeated;
use crate::request::{Call, topic_error};

/// For how long a change may take, as neither request says: in milliseconds.
const TIMEOUT_MS: i32 = 30_000;

/// What is asked of one topic or broker.
pub struct AskedChange<'a> {
    /// `RESOURCE_TOPIC`, `RESOURCE_BROKER` or another.
    pub resource_type: i8,
    /// The topic's name or the broker's id.
    pub resource_name: &'a str,
    /// The names of the settings, in the order of the request.
    pub keys: Vec<&'a str>,
    /// What changes, or what is wrong with the request.
    pub change: Result<ConfigChange, String>,
}

/// What is wrong with a setting without a value.
pub fn no_value(name: &str) -> String {
    format!("{name} has no value: give it one, or delete it to go back to its default")
}

/// Changes what can be changed; each resource for itself.
pub async fn alter<'a>(
    call: &Call,
    asked: Vec<AskedChange<'a>>,
    validate_only: bool,
) -> Vec<AlterConfigsResourceResponse<'a>> {
    let twice = repeated(asked.iter().map(|one| (one.resource_type, one.resource_name)));
    let mut outcomes: Vec<Result<(), Failure>> = asked.iter().map(|one| check(one, &twice)).collect();
    let (mut of_topics, mut topics) = (Vec::new(), Vec::new());
    let (mut of_brokers, mut brokers) = (Vec::new(), Vec::new());
    for (position, one) in asked.iter().enumerate() {
        let (Ok(()), Ok(change)) = (&outcomes[position], one.change.clone()) else { continue };
        if one.resource_type == RESOURCE_TOPIC {
            of_topics.push(position);
            topics.push(TopicConfigChange { name: one.resource_name.to_owned(), change });
        } else {
            of_brokers.push(position);
            let id = one.resource_name.parse().ok().map(BrokerId);
            brokers.push(BrokerConfigChange { id, change });
        }
    }
    let topics = Command::AlterTopicConfigs(AlterTopicConfigs { topics, validate_only });
    let brokers = Command::AlterBrokerConfigs(AlterBrokerConfigs { brokers, validate_only });
    for (positions, command) in [(of_topics, topics), (of_brokers, brokers)] {
        for (position, outcome) in carry_out(call, command, positions).await {
            outcomes[position] = outcome;
        }
    }
    asked
        .into_iter()
        .zip(outcomes)
        .map(|(one, outcome)| {
            let (error, message) = match outcome {
                Ok(()) => (ErrorCode::None, None),
                Err(failure) => (failure.code, Some(failure.message)),
            };
            AlterConfigsResourceResponse {
                error_code: error.code(),
                error_message: message,
                resource_type: one.resource_type,
                resource_name: Cow::Borrowed(one.resource_name),
            }
        })
        .collect()
}

/// Refuses what makes no sense before anything is changed.
fn check(one: &AskedChange<'_>, twice: &HashSet<(i8, &str)>) -> Result<(), Failure> {
    let refuse = |message: String| Err(Failure { code: ErrorCode::InvalidRequest, message: message.into() });
    let (kind, name) = (one.resource_type, one.resource_name);
    if twice.contains(&(kind, name)) {
        return refuse(format!("{name:?} is named twice: name each topic and broker once"));
    }
    let mut seen = BTreeSet::new();
    if let Some(twice) = one.keys.iter().find(|key| !seen.insert(**key)) {
        return refuse(format!("{twice} is set twice: set each key once"));
    }
    match kind {
        RESOURCE_TOPIC => {}
        // No name stands for all brokers.
        RESOURCE_BROKER if name.is_empty() || name.parse::<i32>().is_ok() => {}
        RESOURCE_BROKER => {
            return refuse(format!("{name:?} is no broker's id: use a number, or none for all"));
        }
        other => {
            return refuse(format!(
                "resources of type {other} have no configuration here: name a topic or a broker"
            ));
        }
    }
    one.change.as_ref().map(drop).or_else(|message| refuse(message.clone()))
}

/// Submits what is asked of the resources at these positions; what became of each.
async fn carry_out(
    call: &Call,
    command: Command,
    positions: Vec<usize>,
) -> Vec<(usize, Result<(), Failure>)> {
    if positions.is_empty() {
        return Vec::new();
    }
    let results: Vec<TopicResult<()>> = match submit(call, command, TIMEOUT_MS).await {
        Ok(Reply::TopicConfigsAltered(results) | Reply::BrokerConfigsAltered(results)) => results,
        Ok(reply) => panic!("the reply's variant follows the command's: {reply:?}"),
        Err(failure) => return positions.into_iter().map(|at| (at, Err(failure.clone()))).collect(),
    };
    call.broker.wait_applied(call.broker.image().version).await;
    let outcomes = results.into_iter().map(|result| {
        result.map_err(|error| Failure { code: topic_error(error.kind), message: error.message.into() })
    });
    positions.into_iter().zip(outcomes).collect()
}
