//! Writing to the API server: server-side apply, statuses, finalizers, events.

use k8s_openapi::api::apps::v1::StatefulSet;
use k8s_openapi::api::core::v1::{ConfigMap, ObjectReference, Service, ServiceAccount};
use k8s_openapi::api::events::v1::Event as KubeEvent;
use k8s_openapi::api::policy::v1::PodDisruptionBudget;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::MicroTime;
use k8s_openapi::jiff::Timestamp;
use kube::api::{ApiResource, DeleteParams, DynamicObject, Patch, PatchParams, PostParams};
use kube::{Api, Error, Resource, ResourceExt};
use ottla_api::API_VERSION;
use ottla_plan::{Event, FIELD_MANAGER, ObjectKind, PlannedObject};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::json;

use crate::context::Context;

const NOTE_LENGTH_MAX: usize = 1000;

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

/// Applies an object, unless it is so already. Whether it was written.
pub(crate) async fn apply(context: &Context, namespace: &str, object: &PlannedObject) -> Result<bool, Error> {
    let live = context.stores.live(object.kind, namespace, &object.name);
    if !object.changes(live.as_ref()) {
        return Ok(false);
    }
    let parameters = PatchParams::apply(FIELD_MANAGER).force();
    let api = api(context, object.kind, namespace);
    api.patch(&object.name, &parameters, &Patch::Apply(&object.body)).await?;
    tracing::info!(kind = %object.kind, namespace, name = object.name, "applied");
    Ok(true)
}

/// Whether something was refused because its whole namespace is being deleted.
pub(crate) fn is_namespace_terminating(error: &Error) -> bool {
    let Error::Api(status) = error else { return false };
    let causes = status.details.iter().flat_map(|details| &details.causes);
    status.code == 403 && causes.into_iter().any(|cause| cause.reason == "NamespaceTerminating")
}

/// Deletes an object; that it is gone already is as good.
pub(crate) async fn delete(
    context: &Context,
    namespace: &str,
    kind: ObjectKind,
    name: &str,
) -> Result<(), Error> {
    match api(context, kind, namespace).delete(name, &DeleteParams::default()).await {
        Err(Error::Api(status)) if status.code == 404 => Ok(()),
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
