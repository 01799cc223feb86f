//! Writing to the API server: server-side apply, statuses, finalizers, events.

use std::time::Duration;

use k8s_openapi::api::apps::v1::StatefulSet;
use k8s_openapi::api::core::v1::{ConfigMap, ObjectReference, Service, ServiceAccount};
use k8s_openapi::api::events::v1::Event as KubeEvent;
use k8s_openapi::api::policy::v1::PodDisruptionBudget;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::MicroTime;
use k8s_openapi::jiff::Timestamp;
use kube::api::{
    ApiResource, DeleteParams, DynamicObject, ListParams, Patch, PatchParams, PostParams, Preconditions,
};
use kube::{Api, Error, Resource, ResourceExt};
use ottla_api::API_VERSION;
use ottla_plan::{CONFLICT, Event, FIELD_MANAGER, Foreign, ObjectKind, PlannedObject, STEP_FAILED};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use crate::context::Context;

const NOTE_LENGTH_MAX: usize = 1000;
/// How often an object is made as it was before it does without what it had, and the pause between.
const AGAIN_TRIES: usize = 5;
const AGAIN_PAUSE: Duration = Duration::from_millis(200);

fn api(context: &Context, kind: ObjectKind, namespace: &str) -> Api<DynamicObject> {
    let resource = match kind {
        ObjectKind::ServiceAccount => ApiResource::erase::<ServiceAccount>(&()),
        ObjectKind::Service => ApiResource::erase::<Service>(&()),
        ObjectKind::ConfigMap => ApiResource::erase::<ConfigMap>(&()),
        ObjectKind::StatefulSet => ApiResource::erase::<StatefulSet>(&()),
        ObjectKind::PodDisruptionBudget => ApiResource::erase::<PodDisruptionBudget>(&()),
    };
    Api::namespaced_with(context.client.clone(), namespace, &resource)
}

/// Why an object isn't as it should be.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ApplyError {
    /// The API server refuses it, or doesn't answer.
    #[error("{0}")]
    Kubernetes(#[from] Box<Error>),
    /// Its name is taken by an object that isn't the cluster's own.
    #[error(transparent)]
    Foreign(#[from] Foreign),
}

impl From<Error> for ApplyError {
    fn from(error: Error) -> Self {
        Self::Kubernetes(Box::new(error))
    }
}

impl ApplyError {
    /// Why, in the word of a condition.
    pub fn reason(&self) -> &'static str {
        match self {
            Self::Kubernetes(_) => STEP_FAILED,
            Self::Foreign(_) => CONFLICT,
        }
    }
}

/// A resourceVersion that no object has: what is applied with it is made, or refused because it is there.
const ONLY_IF_ABSENT: &str = "1";

/// Applies an object, unless it is so already, or there is one of its name that isn't the cluster's. Whether
/// it was written.
///
/// What the watches show may be old, and they show only what has our labels: so the API server holds each
/// write to the uid that was looked at, or to there being no such object.
pub(crate) async fn apply(
    context: &Context,
    namespace: &str,
    object: &PlannedObject,
) -> Result<bool, ApplyError> {
    let api = api(context, object.kind, namespace);
    match context.stores.live(object.kind, namespace, &object.name) {
        Some(live) => {
            object.check_owner(&live)?;
            if !object.changes(Some(&live)) {
                return Ok(false);
            }
            write(&api, object, &object.body, "uid", &live["metadata"]["uid"]).await?;
        }
        None => create(&api, object).await?,
    }
    tracing::info!(kind = %object.kind, namespace, name = object.name, "applied");
    Ok(true)
}

/// Makes an object that no watch shows; takes it up if it is the cluster's own all the same.
async fn create(api: &Api<DynamicObject>, object: &PlannedObject) -> Result<(), ApplyError> {
    let absent = json!(ONLY_IF_ABSENT);
    let result = match &object.again {
        None => write(api, object, &object.body, "resourceVersion", &absent).await,
        Some(again) => match create_again(api, object, again).await {
            Err(error) if is_invalid(&error) => {
                tracing::warn!(kind = %object.kind, name = object.name, %error, "it can't be made as it was");
                write(api, object, &object.body, "resourceVersion", &absent).await
            }
            result => result,
        },
    };
    match result {
        Err(Error::Api(status)) if status.code == 409 => {}
        result => return Ok(result?),
    }
    let by_name = ListParams::default().fields(&format!("metadata.name={}", object.name));
    // Gone again if there is none: the next look makes it.
    for live in api.list(&by_name).await?.items {
        let live = serde_json::to_value(&live).map_err(Error::SerdeError)?;
        object.check_owner(&live)?;
        write(api, object, &object.body, "uid", &live["metadata"]["uid"]).await?;
    }
    Ok(())
}

/// Makes an object as it was. The API server tells that the one before is gone a moment before it lets go of
/// what that had.
async fn create_again(api: &Api<DynamicObject>, object: &PlannedObject, again: &Value) -> Result<(), Error> {
    let absent = json!(ONLY_IF_ABSENT);
    for _ in 1..AGAIN_TRIES {
        match write(api, object, again, "resourceVersion", &absent).await {
            Err(error) if is_invalid(&error) => tokio::time::sleep(AGAIN_PAUSE).await,
            result => return result,
        }
    }
    write(api, object, again, "resourceVersion", &absent).await
}

/// Whether the API server refuses what is asked, and not who asks or when.
fn is_invalid(error: &Error) -> bool {
    matches!(error, Error::Api(status) if status.code == 422)
}

/// Applies an object with this body, if its metadata has this.
async fn write(
    api: &Api<DynamicObject>,
    object: &PlannedObject,
    body: &Value,
    field: &str,
    value: &Value,
) -> Result<(), Error> {
    let mut body = body.clone();
    body["metadata"][field] = value.clone();
    let parameters = PatchParams::apply(FIELD_MANAGER).force();
    api.patch(&object.name, &parameters, &Patch::Apply(&body)).await.map(drop)
}

/// Whether something was refused because its whole namespace is being deleted.
pub(crate) fn is_namespace_terminating(error: &Error) -> bool {
    let Error::Api(status) = error else { return false };
    let causes = status.details.iter().flat_map(|details| &details.causes);
    status.code == 403 && causes.into_iter().any(|cause| cause.reason == "NamespaceTerminating")
}

/// Deletes the object with this uid; that it is gone already is as good, and one of its name that came since
/// stays.
pub(crate) async fn delete(
    context: &Context,
    namespace: &str,
    kind: ObjectKind,
    name: &str,
    uid: &str,
) -> Result<(), Error> {
    let preconditions = Preconditions { uid: Some(uid.to_owned()), resource_version: None };
    let parameters = DeleteParams { preconditions: Some(preconditions), ..Default::default() };
    match api(context, kind, namespace).delete(name, &parameters).await {
        Err(Error::Api(status)) if [404, 409].contains(&status.code) => Ok(()),
        Err(error) => Err(error),
        Ok(_) => {
            tracing::info!(%kind, namespace, name, "deleted");
            Ok(())
        }
    }
}

/// Writes the status of a resource of ours.
pub(crate) async fn write_status<K, S>(
    context: &Context,
    object: &K,
    kind: &str,
    status: &S,
) -> Result<(), Error>
where
    K: Resource<DynamicType = (), Scope = kube::core::NamespaceResourceScope>
        + Clone
        + DeserializeOwned
        + std::fmt::Debug,
    S: Serialize,
{
    let namespace = object.namespace().unwrap_or_default();
    let api = Api::<K>::namespaced(context.client.clone(), &namespace);
    // The uid keeps a resource of the same name that came since from getting this status.
    let body = json!({
        "apiVersion": API_VERSION,
        "kind": kind,
        "metadata": {"name": object.name_any(), "uid": object.uid()},
        "status": status,
    });
    let parameters = PatchParams::apply(FIELD_MANAGER).force();
    api.patch_status(&object.name_any(), &parameters, &Patch::Apply(&body)).await?;
    if let Some(uid) = object.meta().uid.as_deref() {
        let version = object.meta().resource_version.as_deref();
        context.status_written(uid, version, body["status"].clone());
    }
    Ok(())
}

/// Sets or removes a finalizer, if nobody changed the resource meanwhile.
pub(crate) async fn set_finalizer<K>(
    context: &Context,
    object: &K,
    finalizer: &str,
    wanted: bool,
) -> Result<(), Error>
where
    K: Resource<DynamicType = (), Scope = kube::core::NamespaceResourceScope>
        + Clone
        + DeserializeOwned
        + std::fmt::Debug,
{
    let mut finalizers: Vec<String> =
        object.finalizers().iter().filter(|f| *f != finalizer).cloned().collect();
    if wanted {
        finalizers.push(finalizer.to_owned());
    }
    let namespace = object.namespace().unwrap_or_default();
    let api = Api::<K>::namespaced(context.client.clone(), &namespace);
    let body = json!({"metadata": {"resourceVersion": object.resource_version(), "finalizers": finalizers}});
    let result = api.patch(&object.name_any(), &PatchParams::default(), &Patch::Merge(&body)).await;
    match result {
        Err(Error::Api(status)) if status.code == 404 && !wanted => Ok(()),
        Err(error) => Err(error),
        Ok(_) => Ok(()),
    }
}

/// Tells people. That it didn't work is logged and forgotten: nothing depends on it.
pub(crate) async fn publish<K: Resource<DynamicType = ()>>(context: &Context, object: &K, events: &[Event]) {
    publish_about(context, reference(object), events).await;
}

/// Tells people of an object that is known by reference.
pub(crate) async fn publish_about(context: &Context, object: ObjectReference, events: &[Event]) {
    let namespace = object.namespace.clone().unwrap_or_default();
    let api = Api::<KubeEvent>::namespaced(context.client.clone(), &namespace);
    for event in events {
        let now = Timestamp::now();
        let mut body = KubeEvent {
            event_time: Some(MicroTime(now)),
            reporting_controller: Some(format!("ottla.dev/{FIELD_MANAGER}")),
            reporting_instance: Some(context.identity.clone()),
            action: Some("Reconcile".to_owned()),
            reason: Some(event.reason.clone()),
            note: Some(event.message.chars().take(NOTE_LENGTH_MAX).collect()),
            type_: Some(if event.warning { "Warning" } else { "Normal" }.to_owned()),
            regarding: Some(object.clone()),
            ..Default::default()
        };
        let name = object.name.as_deref().unwrap_or_default();
        body.metadata.name = Some(format!("{name}.{:x}", now.as_nanosecond()));
        body.metadata.namespace = Some(namespace.clone());
        if let Err(error) = api.create(&PostParams::default(), &body).await
            && !is_namespace_terminating(&error)
        {
            tracing::warn!(%error, reason = event.reason, "cannot publish an event");
        }
    }
}

fn reference<K: Resource<DynamicType = ()>>(object: &K) -> ObjectReference {
    ObjectReference {
        api_version: Some(K::api_version(&()).into_owned()),
        kind: Some(K::kind(&()).into_owned()),
        name: object.meta().name.clone(),
        namespace: object.meta().namespace.clone(),
        uid: object.meta().uid.clone(),
        resource_version: object.meta().resource_version.clone(),
        ..Default::default()
    }
}
