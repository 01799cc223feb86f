//! IncrementalAlterConfigs: single settings change, the others stay.

use ottla_core::metadata::{ConfigChange, ConfigOperation};
use ottla_wire::apis::IncrementalAlterConfigs;
use ottla_wire::messages::{
    CONFIG_APPEND, CONFIG_DELETE, CONFIG_SET, CONFIG_SUBTRACT, IncrementalAlterConfig,
    IncrementalAlterConfigsResource, IncrementalAlterConfigsResponse,
};

use super::config_changes::{AskedChange, alter, no_value};
use crate::request::{Begun, Call};

/// Changes settings.
pub fn begin(call: Call) -> Begun {
    Box::pin(async move {
        let request = call.decode::<IncrementalAlterConfigs>()?;
        let asked = request.resources.iter().map(|resource| AskedChange {
            resource_type: resource.resource_type,
            resource_name: resource.resource_name,
            keys: resource.configs.iter().map(|config| config.name).collect(),
            change: change(resource),
        });
        let responses = alter(&call, asked.collect(), request.validate_only).await;
        call.respond::<IncrementalAlterConfigs>(&IncrementalAlterConfigsResponse {
            responses,
            ..Default::default()
        })
    })
}

fn change(resource: &IncrementalAlterConfigsResource<'_>) -> Result<ConfigChange, String> {
    resource.configs.iter().map(operation).collect::<Result<_, _>>().map(ConfigChange::Incremental)
}

fn operation(config: &IncrementalAlterConfig<'_>) -> Result<(String, ConfigOperation), String> {
    let value = || config.value.map(str::to_owned).ok_or_else(|| no_value(config.name));
    let operation = match config.config_operation {
        CONFIG_SET => ConfigOperation::Set(value()?),
        CONFIG_DELETE => ConfigOperation::Delete,
        CONFIG_APPEND => ConfigOperation::Append(value()?),
        CONFIG_SUBTRACT => ConfigOperation::Subtract(value()?),
        other => return Err(format!("there is no operation {other} on a setting: use 0 to 3")),
    };
    Ok((config.name.to_owned(), operation))
}
