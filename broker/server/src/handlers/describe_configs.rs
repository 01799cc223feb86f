//! DescribeConfigs: the settings in force of topics and of this broker.

use std::borrow::Cow;
use std::collections::BTreeMap;

use ottla_core::config::{BROKER_CONFIGS, ConfigDefinition, ConfigSource, ConfigType, ConfigValue, describe};
use ottla_core::metadata::{MetadataImage, TopicImage};
use ottla_types::TopicName;
use ottla_wire::ErrorCode;
use ottla_wire::apis::DescribeConfigs;
use ottla_wire::messages::{
    DescribeConfigsRequest, DescribeConfigsResource, DescribeConfigsResourceResult, DescribeConfigsResponse,
    DescribeConfigsResult, DescribeConfigsSynonym, RESOURCE_BROKER, RESOURCE_TOPIC,
};

use super::call::{Begun, Call};
use super::create_topics::source_code;
use crate::config::{Kind, SETTINGS, Setting};

/// Kafka's numbers of sources.
const SOURCE_BROKER: i8 = 2;
const SOURCE_ALL_BROKERS: i8 = 3;
const SOURCE_BROKER_FILE: i8 = 4;
const SOURCE_DEFAULT: i8 = 5;

/// Answers from the metadata and the configuration.
pub fn begin(call: Call) -> Begun {
    Box::pin(async move {
        let request = call.decode::<DescribeConfigs>()?;
        let results = request.resources.iter().map(|resource| one(&call, &request, resource)).collect();
        call.respond::<DescribeConfigs>(&DescribeConfigsResponse { results, ..Default::default() })
    })
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
    let wanted = |config: &DescribeConfigsResourceResult<'_>| {
        resource.configuration_keys.as_ref().is_none_or(|keys| keys.contains(&&*config.name))
    };
    let (error, message, configs) = match configs {
        Ok(configs) => (ErrorCode::None, None, configs.into_iter().filter(wanted).collect()),
        Err((error, message)) => (error, Some(Cow::Owned(message)), Vec::new()),
    };
    DescribeConfigsResult {
        error_code: error.code(),
        error_message: message,
        resource_type: resource.resource_type,
        resource_name: Cow::Borrowed(resource.resource_name),
        configs,
    }
}

type Configs = Result<Vec<DescribeConfigsResourceResult<'static>>, (ErrorCode, String)>;

fn of_topic(call: &Call, request: &DescribeConfigsRequest<'_>, name: &str) -> Configs {
    if let Err(error) = TopicName::new(name) {
        return Err((ErrorCode::InvalidTopicException, error.to_string()));
    }
    let image = call.broker.image();
    let unknown = || (ErrorCode::UnknownTopicOrPartition, format!("there is no topic {name:?}"));
    let topic = image.topic(name).ok_or_else(unknown)?;
    let mut values = describe(&topic.config, call.broker.partitions.defaults());
    for value in values.iter_mut().filter(|value| value.definition.name == "min.insync.replicas") {
        in_force(value, &image, topic);
    }
    Ok(values.into_iter().map(|value| topic_config(value, request)).collect())
}

/// How many replicas in sync a topic needs that doesn't say: the cluster's default, not this broker's, and never more
/// than it has. Kafka's tools count the partitions below it.
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
    let source = source_code(value.source);
    let name = match value.source {
        ConfigSource::Broker(setting) => setting,
        ConfigSource::Topic | ConfigSource::Default => value.definition.name,
    };
    let synonym = DescribeConfigsSynonym {
        name: Cow::Borrowed(name),
        value: Some(Cow::Owned(value.value.clone())),
        source,
    };
    DescribeConfigsResourceResult {
        name: Cow::Borrowed(value.definition.name),
        value: Some(Cow::Owned(value.value)),
        read_only: false,
        config_source: source,
        is_sensitive: false,
        synonyms: if request.include_synonyms { vec![synonym] } else { Vec::new() },
        config_type: type_code(value.definition.kind),
        documentation: request.include_documentation.then_some(Cow::Borrowed(value.definition.doc)),
    }
}

/// Kafka's number of a type.
fn type_code(kind: ConfigType) -> i8 {
    match kind {
        ConfigType::Boolean => 1,
        ConfigType::String => 2,
        ConfigType::Int => 3,
        ConfigType::Long => 5,
        ConfigType::Double => 6,
        ConfigType::List => 7,
    }
}

fn of_broker(call: &Call, request: &DescribeConfigsRequest<'_>, name: &str) -> Configs {
    let id = call.broker.config.node_id;
    let image = call.broker.image();
    let of_all = image.broker_configs.get(&None);
    if name.is_empty() {
        let values = BROKER_CONFIGS.iter().filter_map(|definition| {
            let value = of_all?.get(definition.name)?;
            Some(dynamic_config(definition, value, SOURCE_ALL_BROKERS, request))
        });
        return Ok(values.collect());
    }
    if name != id.to_string() {
        return Err((ErrorCode::InvalidRequest, format!("this is broker {id}: ask broker {name} itself")));
    }
    let own = image.broker_configs.get(&Some(id));
    let dynamic = BROKER_CONFIGS.iter().map(|definition| {
        let set_in = |config: Option<&BTreeMap<String, String>>| config?.get(definition.name).cloned();
        let (value, source) = match (set_in(own), set_in(of_all)) {
            (Some(value), _) => (value, SOURCE_BROKER),
            (None, Some(value)) => (value, SOURCE_ALL_BROKERS),
            (None, None) => (definition.default.to_owned(), SOURCE_DEFAULT),
        };
        dynamic_config(definition, &value, source, request)
    });
    Ok(SETTINGS.iter().map(|setting| broker_config(call, setting, request)).chain(dynamic).collect())
}

/// A setting that brokers get while they run.
fn dynamic_config(
    definition: &'static ConfigDefinition,
    value: &str,
    source: i8,
    request: &DescribeConfigsRequest<'_>,
) -> DescribeConfigsResourceResult<'static> {
    let value = Some(Cow::Owned(value.to_owned()));
    let synonym =
        DescribeConfigsSynonym { name: Cow::Borrowed(definition.name), value: value.clone(), source };
    DescribeConfigsResourceResult {
        name: Cow::Borrowed(definition.name),
        value,
        read_only: false,
        config_source: source,
        is_sensitive: false,
        synonyms: if request.include_synonyms { vec![synonym] } else { Vec::new() },
        config_type: type_code(definition.kind),
        documentation: request.include_documentation.then_some(Cow::Borrowed(definition.doc)),
    }
}

fn broker_config(
    call: &Call,
    setting: &'static Setting,
    request: &DescribeConfigsRequest<'_>,
) -> DescribeConfigsResourceResult<'static> {
    let values = &call.broker.config.values;
    let value = values.text_of(setting.name).map(|text| Cow::Owned(text.to_owned()));
    let source = if values.is_given(setting.name) { SOURCE_BROKER_FILE } else { SOURCE_DEFAULT };
    let synonym = DescribeConfigsSynonym { name: Cow::Borrowed(setting.name), value: value.clone(), source };
    DescribeConfigsResourceResult {
        name: Cow::Borrowed(setting.name),
        value,
        read_only: true,
        config_source: source,
        is_sensitive: false,
        synonyms: if request.include_synonyms { vec![synonym] } else { Vec::new() },
        config_type: match setting.kind {
            Kind::Bool => 1,
            Kind::Text | Kind::Choice(_) => 2,
            Kind::Int(..) => 3,
            Kind::Long(..) => 5,
            Kind::List => 7,
        },
        documentation: request.include_documentation.then_some(Cow::Borrowed(setting.doc)),
    }
}
