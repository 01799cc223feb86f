//! DescribeConfigs: the settings in force of topics and of this broker.

use std::borrow::Cow;
use std::collections::BTreeMap;

use ottla_core::config::{
    BROKER_CONFIGS, ConfigDefinition, ConfigSource, ConfigType, ConfigValue, TOPIC_CONFIGS,
    broker_definition, describe, normal, validate_broker,
};
use ottla_core::metadata::{MetadataImage, TopicImage};
use ottla_types::TopicName;
use ottla_wire::ErrorCode;
use ottla_wire::apis::DescribeConfigs;
use ottla_wire::messages::{
    DescribeConfigsRequest, DescribeConfigsResource, DescribeConfigsResourceResult, DescribeConfigsResponse,
    DescribeConfigsResult, DescribeConfigsSynonym, RESOURCE_BROKER, RESOURCE_TOPIC,
};

use super::create_topics::source_code;
use crate::config::{KafkaType, SETTINGS, ignored, setting};
use crate::request::{Begun, Call, CallError};

/// Kafka's numbers of sources.
const SOURCE_BROKER: i8 = 2;
const SOURCE_ALL_BROKERS: i8 = 3;
const SOURCE_BROKER_FILE: i8 = 4;
const SOURCE_DEFAULT: i8 = 5;

/// About what a setting takes in an answer while that is made, in bytes: itself, its synonyms, its
/// documentation.
const CONFIG_BYTES: usize = 256;
const SYNONYMS_BYTES: usize = 512;
const DOCUMENTATION_BYTES: usize = 1 << 10;

/// Answers from the metadata and the configuration.
pub fn begin(call: Call) -> Begun {
    Box::pin(async move {
        let request = call.decode::<DescribeConfigs>()?;
        let (answered, _) = within(&call, &request);
        let resources = request.resources.iter().enumerate();
        let results = resources.map(|(position, resource)| match position < answered {
            true => one(&call, &request, resource),
            false => failed(resource, ErrorCode::PolicyViolation, TOO_LONG.into()),
        });
        let response = DescribeConfigsResponse { results: results.collect(), ..Default::default() };
        call.respond::<DescribeConfigs>(&response)
    })
}

/// What the answer takes, which may be a thousand times as long as what is asked.
///
/// # Errors
/// When the request can't be decoded.
pub fn answer_bytes(call: &Call) -> Result<usize, CallError> {
    Ok(within(call, &call.decode::<DescribeConfigs>()?).1)
}

const TOO_LONG: &str = "the answer would be too long: ask for fewer topics and brokers at a time";

/// How many of the resources are answered, the first ones first, within what one request may take; and what
/// that takes, in bytes.
fn within(call: &Call, request: &DescribeConfigsRequest<'_>) -> (usize, usize) {
    let image = call.broker.image();
    let each = CONFIG_BYTES
        + if request.include_synonyms { SYNONYMS_BYTES } else { 0 }
        + if request.include_documentation { DOCUMENTATION_BYTES } else { 0 };
    let texts =
        |config: &BTreeMap<String, String>| config.values().map(|value| 8 * value.len()).sum::<usize>();
    let of_broker = (SETTINGS.len() + BROKER_CONFIGS.len()) * each
        + image.broker_configs.values().map(texts).sum::<usize>()
        + call.broker.config.values.without_effect().0.len() * each;
    let limit_bytes = call.broker.limits.config().request_cost_max() / 2;
    let mut bytes = 0;
    for (position, resource) in request.resources.iter().enumerate() {
        let more = match resource.resource_type {
            RESOURCE_TOPIC => image
                .topic(resource.resource_name)
                .map_or(0, |topic| TOPIC_CONFIGS.len() * each + texts(&topic.config)),
            RESOURCE_BROKER => of_broker,
            _ => 0,
        };
        if bytes + more > limit_bytes && more > 0 {
            return (position, bytes);
        }
        bytes += more;
    }
    (request.resources.len(), bytes)
}

fn one<'a>(
    call: &Call,
    request: &DescribeConfigsRequest<'a>,
    resource: &DescribeConfigsResource<'a>,
) -> DescribeConfigsResult<'a> {
    let configs = match resource.resource_type {
        RESOURCE_TOPIC => of_topic(call, request, resource.resource_name),
        RESOURCE_BROKER => of_broker(call, request, resource.resource_name),
        _ => Err((ErrorCode::InvalidRequest, "only topics and brokers have configurations here".to_owned())),
    };
    match configs {
        Ok(configs) => DescribeConfigsResult {
            resource_type: resource.resource_type,
            resource_name: Cow::Borrowed(resource.resource_name),
            configs: configs
                .into_iter()
                .filter(|config| {
                    // No keys are all of them, be it null or an empty list.
                    let asked = resource.configuration_keys.as_deref().unwrap_or_default();
                    asked.is_empty() || asked.contains(&&*config.name)
                })
                .collect(),
            ..Default::default()
        },
        Err((error, message)) => failed(resource, error, message.into()),
    }
}

fn failed<'a>(
    resource: &DescribeConfigsResource<'a>,
    error: ErrorCode,
    message: Cow<'a, str>,
) -> DescribeConfigsResult<'a> {
    DescribeConfigsResult {
        error_code: error.code(),
        error_message: Some(message),
        resource_type: resource.resource_type,
        resource_name: Cow::Borrowed(resource.resource_name),
        configs: Vec::new(),
    }
}

type Configs = Result<Vec<DescribeConfigsResourceResult<'static>>, (ErrorCode, String)>;

fn of_topic(call: &Call, request: &DescribeConfigsRequest<'_>, name: &str) -> Configs {
    if let Err(error) = TopicName::new(name) {
        return Err((ErrorCode::InvalidTopicException, error.to_string()));
    }
    let image = call.broker.image();
    let topic = image
        .topic(name)
        .ok_or_else(|| (ErrorCode::UnknownTopicOrPartition, format!("there is no topic {name:?}")))?;
    let mut values = describe(&topic.config, &call.broker.partitions.defaults());
    for value in values.iter_mut().filter(|value| value.definition.name == "min.insync.replicas") {
        in_force(value, &image, topic);
    }
    Ok(values.into_iter().map(|value| topic_config(value, request)).collect())
}

/// How many replicas in sync a topic needs that doesn't say: the cluster's default, not this broker's, and
/// never more than it has. Kafka's tools count the partitions below it.
fn in_force(value: &mut ConfigValue, image: &MetadataImage, topic: &TopicImage) {
    let needed = topic.partitions.iter().map(|partition| image.min_insync_replicas(topic, partition)).min();
    if let (Some(needed), false) = (needed, value.source == ConfigSource::Topic) {
        value.value = needed.to_string();
    }
}

fn topic_config(
    value: ConfigValue,
    request: &DescribeConfigsRequest<'_>,
) -> DescribeConfigsResourceResult<'static> {
    let definition = value.definition;
    DescribeConfigsResourceResult {
        name: Cow::Borrowed(definition.name),
        value: Some(Cow::Owned(value.value)),
        read_only: false,
        config_source: source_code(value.source),
        is_sensitive: false,
        synonyms: match request.include_synonyms {
            true => value
                .sources
                .into_iter()
                .map(|(source, text)| DescribeConfigsSynonym {
                    name: Cow::Borrowed(match source {
                        ConfigSource::Topic => definition.name,
                        ConfigSource::Default => {
                            definition.synonyms.first().map_or(definition.name, |synonym| synonym.name)
                        }
                        ConfigSource::OneBroker(name)
                        | ConfigSource::AllBrokers(name)
                        | ConfigSource::Broker(name) => name,
                    }),
                    value: Some(Cow::Owned(text)),
                    source: source_code(source),
                })
                .collect(),
            false => Vec::new(),
        },
        config_type: type_code(definition.kind),
        documentation: request.include_documentation.then_some(Cow::Borrowed(definition.doc)),
    }
}

/// Kafka's number of a type.
fn type_code(kind: ConfigType) -> i8 {
    match kind {
        ConfigType::Boolean => KafkaType::Boolean,
        ConfigType::String => KafkaType::String,
        ConfigType::Int => KafkaType::Int,
        ConfigType::Long => KafkaType::Long,
        ConfigType::Double => KafkaType::Double,
        ConfigType::List => KafkaType::List,
    }
    .code()
}

fn of_broker(call: &Call, request: &DescribeConfigsRequest<'_>, name: &str) -> Configs {
    let id = call.broker.config.node_id;
    let image = call.broker.image();
    let of_all = image.broker_configs.get(&None);
    if name.is_empty() {
        let values = BROKER_CONFIGS.iter().filter_map(|definition| {
            let value = set_in(of_all, definition)?;
            let told = BrokerSetting::of(definition);
            Some(told.into_config(vec![(SOURCE_ALL_BROKERS, value)], request))
        });
        return Ok(values.collect());
    }
    if name != id.to_string() {
        return Err((ErrorCode::InvalidRequest, format!("this is broker {id}: ask broker {name} itself")));
    }
    let own = image.broker_configs.get(&Some(id));
    let values = &call.broker.config.values;
    let heeded = SETTINGS.iter().map(|setting| BrokerSetting {
        name: Cow::Borrowed(setting.name),
        config_type: KafkaType::from(setting.kind).code(),
        default: Some(setting.default).filter(|default| !default.is_empty()),
        doc: setting.doc,
    });
    let dynamic =
        BROKER_CONFIGS.iter().filter(|definition| setting(definition.name).is_none()).map(BrokerSetting::of);
    let (without_effect, _) = values.without_effect();
    let without_effect = without_effect.into_iter().filter(|name| broker_definition(name).is_none());
    let without_effect = without_effect.filter_map(|name| {
        Some(BrokerSetting {
            name: Cow::Owned(name.to_owned()),
            config_type: ignored(name)?.code(),
            default: None,
            doc: "A setting of Apache Kafka that has no effect here.",
        })
    });
    Ok(heeded
        .chain(dynamic)
        .chain(without_effect)
        .map(|told| {
            let definition = broker_definition(&told.name);
            let dynamic = [(SOURCE_BROKER, own), (SOURCE_ALL_BROKERS, of_all)].into_iter();
            let dynamic = dynamic.filter_map(|(source, config)| Some((source, set_in(config, definition?)?)));
            let file =
                values.given_text(&told.name).filter(|text| definition.is_none_or(|d| is_heeded(d, text)));
            let file = file.map(|text| (SOURCE_BROKER_FILE, text.to_owned()));
            let default = told.default.map(|text| (SOURCE_DEFAULT, text.to_owned()));
            told.into_config(dynamic.chain(file).chain(default).collect(), request)
        })
        .collect())
}

/// What `config` sets of it.
fn set_in(config: Option<&BTreeMap<String, String>>, definition: &ConfigDefinition) -> Option<String> {
    config?.get(definition.name).map(|value| normal(definition, value))
}

/// Whether a file's value is one that this broker goes by: some that aren't are passed over.
fn is_heeded(definition: &ConfigDefinition, text: &str) -> bool {
    validate_broker(&[(definition.name.to_owned(), text.to_owned())].into()).is_ok()
}

/// A setting of brokers as it is told, but for its values.
struct BrokerSetting {
    name: Cow<'static, str>,
    config_type: i8,
    default: Option<&'static str>,
    doc: &'static str,
}

impl BrokerSetting {
    fn of(definition: &'static ConfigDefinition) -> Self {
        Self {
            name: Cow::Borrowed(definition.name),
            config_type: type_code(definition.kind),
            default: definition.has_default().then_some(definition.default),
            doc: definition.doc,
        }
    }

    /// With its values, the one in force first; secrets are kept.
    fn into_config(
        self,
        values: Vec<(i8, String)>,
        request: &DescribeConfigsRequest<'_>,
    ) -> DescribeConfigsResourceResult<'static> {
        let is_sensitive = self.config_type == KafkaType::Password.code() || self.name.contains("password");
        let told = |value: String| Some(Cow::Owned(value)).filter(|_| !is_sensitive);
        let synonyms = values.iter().map(|(source, value)| DescribeConfigsSynonym {
            name: self.name.clone(),
            value: told(value.clone()),
            source: *source,
        });
        let synonyms = if request.include_synonyms { synonyms.collect() } else { Vec::new() };
        let (config_source, value) = match values.into_iter().next() {
            Some((source, value)) => (source, told(value)),
            None => (SOURCE_DEFAULT, None),
        };
        DescribeConfigsResourceResult {
            read_only: broker_definition(&self.name).is_none(),
            name: self.name,
            value,
            config_source,
            is_sensitive,
            synonyms,
            config_type: self.config_type,
            documentation: request.include_documentation.then_some(Cow::Borrowed(self.doc)),
        }
    }
}
