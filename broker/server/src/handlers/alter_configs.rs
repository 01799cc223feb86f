//! AlterConfigs: all settings of a topic or broker are replaced; what isn't named goes back to its default.

use ottla_core::metadata::ConfigChange;
use ottla_wire::apis::AlterConfigs;
use ottla_wire::messages::{AlterConfigsResource, AlterConfigsResponse};

use super::config_changes::{AskedChange, alter, no_value};
use crate::request::{Begun, Call};

/// Replaces settings.
pub fn begin(call: Call) -> Begun {
    Box::pin(async move {
        let request = call.decode::<AlterConfigs>()?;
        let asked = request.resources.iter().map(|resource| AskedChange {
            resource_type: resource.resource_type,
            resource_name: resource.resource_name,
            keys: resource.configs.iter().map(|config| config.name).collect(),
            change: change(resource),
        });
        let responses = alter(&call, asked.collect(), request.validate_only).await;
        call.respond::<AlterConfigs>(&AlterConfigsResponse { responses, ..Default::default() })
    })
}

fn change(resource: &AlterConfigsResource<'_>) -> Result<ConfigChange, String> {
    resource
        .configs
        .iter()
        .map(|config| {
            let value = config.value.ok_or_else(|| no_value(config.name))?;
            Ok((config.name.to_owned(), value.to_owned()))
        })
        .collect::<Result<_, _>>()
        .map(ConfigChange::Replace)
}
