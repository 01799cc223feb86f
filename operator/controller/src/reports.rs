//! Tells people of objects that can't be decoded: on themselves, by conditions and an event.

use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::api::core::v1::ObjectReference;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
use kube::api::{DynamicObject, Patch, PatchParams};
use kube::{Api, Error};
use ottla_api::{GROUP, PROGRESSING, READY, condition, same_conditions, set_condition};
use ottla_plan::FIELD_MANAGER;
use serde_json::json;
use tokio::sync::mpsc;
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

use crate::apply::publish_about;
use crate::context::{Context, now};
use crate::lenient::Unread;
use crate::unread::Report;

/// The reason of conditions and events.
const UNREADABLE: &str = "Unreadable";

/// How often it is tried to tell of one, and how long the first pause between tries is.
const TRIES_MAX: u32 = 6;
const PAUSE_FIRST: Duration = Duration::from_secs(1);

/// Tells of each object on itself, until `stop`.
pub(crate) async fn report_all(
    context: Arc<Context>,
    mut reports: mpsc::UnboundedReceiver<Report>,
    stop: CancellationToken,
) {
    while let Some(Some(report)) = stop.run_until_cancelled(reports.recv()).await {
        // What others made is theirs to explain; the log has it.
        if report.resource.group == GROUP {
            let (context, stop) = (context.clone(), stop.clone());
            tokio::spawn(async move { stop.run_until_cancelled(report.tell(&context)).await });
        }
    }
}

impl Report {
    /// Writes it to the object's status and publishes an event, unless the status says so already.
    pub async fn tell(&self, context: &Context) {
        let mut pause = PAUSE_FIRST;
        for _ in 0..TRIES_MAX {
            match self.write(context).await {
                Ok(()) => return,
                // It is gone, or another one.
                Err(Error::Api(status)) if [404, 409].contains(&status.code) => return,
                Err(error) => tracing::warn!(%error, "cannot tell of an object that cannot be read"),
            }
            sleep(pause).await;
            pause *= 2;
        }
    }

    async fn write(&self, context: &Context) -> Result<(), Error> {
        let Unread { metadata, conditions, .. } = &self.unread;
        let says = self.says(now());
        if same_conditions(conditions, &says) {
            return Ok(());
        }
        let (namespace, name) =
            (metadata.namespace.as_deref().unwrap_or_default(), metadata.name.as_deref().unwrap_or_default());
        let api = Api::<DynamicObject>::namespaced_with(context.client.clone(), namespace, &self.resource);
        // Only the conditions: what else is on record there must stay.
        let body = json!({"metadata": {"uid": metadata.uid}, "status": {"conditions": says}});
        let parameters = PatchParams { field_manager: Some(FIELD_MANAGER.to_owned()), ..Default::default() };
        api.patch_status(name, &parameters, &Patch::Merge(&body)).await?;
        let event =
            ottla_plan::Event { warning: true, reason: UNREADABLE.to_owned(), message: self.message() };
        publish_about(context, self.reference(), &[event]).await;
        Ok(())
    }

    fn message(&self) -> String {
        format!("this operator cannot read it, and leaves all as it is: {}", self.unread.error)
    }

    fn says(&self, now: Time) -> Vec<Condition> {
        let mut conditions = self.unread.conditions.clone();
        let generation = self.unread.metadata.generation;
        for kind in [READY, PROGRESSING] {
            let new = condition(kind, false, UNREADABLE, &self.message(), generation, now.clone());
            set_condition(&mut conditions, new);
        }
        conditions
    }

    fn reference(&self) -> ObjectReference {
        let metadata = self.unread.metadata.clone();
        ObjectReference {
            api_version: Some(self.resource.api_version.clone()),
            kind: Some(self.resource.kind.clone()),
            name: metadata.name,
            namespace: metadata.namespace,
            uid: metadata.uid,
            resource_version: metadata.resource_version,
            ..Default::default()
        }
    }
}
