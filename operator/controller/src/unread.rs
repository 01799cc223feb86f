//! What becomes of objects that can't be decoded: they are left out of the stores, and told of on themselves.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use futures::{Stream, StreamExt};
use k8s_openapi::api::core::v1::ObjectReference;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
use kube::api::{ApiResource, DynamicObject, Patch, PatchParams};
use kube::runtime::reflector::{ObjectRef, Store};
use kube::runtime::watcher::{self, Event};
use kube::{Api, Error};
use ottla_api::{GROUP, PROGRESSING, READY, condition, same_conditions, set_condition};
use ottla_plan::FIELD_MANAGER;
use parking_lot::Mutex;
use serde_json::json;
use tokio::sync::mpsc;
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

use crate::apply::publish_about;
use crate::context::{Context, now};
use crate::lenient::{Lenient, Unread};
use crate::watches::Watched;

/// The reason of conditions and events.
const UNREADABLE: &str = "Unreadable";

/// How often it is tried to tell of one, and how long the first pause between tries is.
const TRIES_MAX: u32 = 6;
const PAUSE_FIRST: Duration = Duration::from_secs(1);

/// The objects that can't be decoded just now, and why not: by kind, namespace and name.
#[derive(Debug, Default)]
pub(crate) struct Unreads(Mutex<BTreeMap<(String, String, String), String>>);

impl Unreads {
    /// Why this object can't be decoded; none if it can, or isn't there.
    pub fn why(&self, kind: &str, namespace: &str, name: &str) -> Option<String> {
        self.0.lock().get(&(kind.to_owned(), namespace.to_owned(), name.to_owned())).cloned()
    }

    fn note<K: Watched>(&self, key: &ObjectRef<K>, error: Option<&str>) {
        let key = (K::kind(&()).into_owned(), key.namespace.clone().unwrap_or_default(), key.name.clone());
        match error {
            Some(error) => self.0.lock().insert(key, error.to_owned()),
            None => self.0.lock().remove(&key),
        };
    }

    fn forget<K: Watched>(&self) {
        self.0.lock().retain(|(kind, ..), _| *kind != K::kind(&()));
    }
}

/// An object to tell of.
#[derive(Clone, Debug)]
pub(crate) struct Report {
    resource: ApiResource,
    unread: Unread,
}

/// Takes out what can't be decoded.
pub(crate) struct Reader<K: Watched> {
    /// What could be decoded so far.
    pub store: Store<K>,
    /// Where what can't be is noted.
    pub unreads: Arc<Unreads>,
    /// Who tells people.
    pub reports: mpsc::UnboundedSender<Report>,
}

impl<K: Watched> Reader<K> {
    /// The same events, but for objects that can't be decoded: as long as they can't, they aren't there.
    pub fn read(
        self,
        events: impl Stream<Item = Result<Event<Lenient<K>>, watcher::Error>>,
    ) -> impl Stream<Item = Result<Event<K>, watcher::Error>> {
        events.filter_map(move |item| {
            let item = match item {
                Ok(event) => self.event(event).map(Ok),
                Err(error) => Some(Err(error)),
            };
            std::future::ready(item)
        })
    }

    fn event(&self, event: Event<Lenient<K>>) -> Option<Event<K>> {
        match event {
            Event::Init => {
                self.unreads.forget::<K>();
                Some(Event::Init)
            }
            Event::InitDone => Some(Event::InitDone),
            Event::InitApply(Lenient::Read(object)) => Some(Event::InitApply(object)),
            Event::Apply(Lenient::Read(object)) => {
                self.unreads.note(&ObjectRef::from_obj(&object), None);
                Some(Event::Apply(object))
            }
            Event::Delete(Lenient::Read(object)) => {
                self.unreads.note(&ObjectRef::from_obj(&object), None);
                Some(Event::Delete(object))
            }
            Event::InitApply(Lenient::Unread(unread)) => {
                self.unread(*unread);
                None
            }
            Event::Apply(Lenient::Unread(unread)) => {
                let key = self.unread(*unread);
                self.store.get(&key).map(|old| Event::Delete((*old).clone()))
            }
            Event::Delete(Lenient::Unread(unread)) => {
                let key = key_of(&unread);
                self.unreads.note::<K>(&key, None);
                self.store.get(&key).map(|old| Event::Delete((*old).clone()))
            }
        }
    }

    fn unread(&self, unread: Unread) -> ObjectRef<K> {
        let key = key_of(&unread);
        tracing::warn!(kind = %K::kind(&()), %key, error = unread.error, "an object cannot be read, and is left alone");
        self.unreads.note(&key, Some(&unread.error));
        // Nobody listens once the operator stops.
        let _ = self.reports.send(Report { resource: ApiResource::erase::<K>(&()), unread });
        key
    }
}

fn key_of<K: Watched>(unread: &Unread) -> ObjectRef<K> {
    let metadata = &unread.metadata;
    ObjectRef::new(metadata.name.as_deref().unwrap_or_default())
        .within(metadata.namespace.as_deref().unwrap_or_default())
}

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
