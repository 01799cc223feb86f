//! The definitions of our kinds: without them, or with older ones, there is nothing that the operator could
//! do.

use std::time::Duration;

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::{Api, Client};
use ottla_api::{crds, definition_trouble};

use crate::http::WaitsFor;

/// When to look again; people are at work on it.
const AGAIN: Duration = Duration::from_secs(2);

/// Waits until the definitions are there, established and no older than this operator; says meanwhile what is
/// amiss.
pub(crate) async fn wait(client: &Client, waits_for: &WaitsFor) {
    loop {
        let trouble = match trouble(client).await {
            Ok(None) => {
                waits_for.set(None);
                return;
            }
            Ok(Some(trouble)) => trouble,
            Err(error) => format!("the definitions can't be read: {error}"),
        };
        if waits_for.set(Some(trouble.clone())) {
            tracing::warn!(trouble, "waiting for the definitions");
        }
        tokio::time::sleep(AGAIN).await;
    }
}

async fn trouble(client: &Client) -> Result<Option<String>, kube::Error> {
    let api: Api<CustomResourceDefinition> = Api::all(client.clone());
    for needed in crds() {
        let live = api.get_opt(needed.metadata.name.as_deref().unwrap_or_default()).await?;
        if let Some(trouble) = definition_trouble(needed, live.as_ref()) {
            return Ok(Some(trouble));
        }
    }
    Ok(None)
}
