//! What becomes of objects that can't be decoded: they are left out of the stores, and reported.

use std::collections::BTreeMap;
use std::fmt::Debug;
use std::sync::Arc;

use futures::{Stream, StreamExt};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::Resource;
use kube::api::ApiResource;
use kube::core::NamespaceResourceScope;
use kube::runtime::reflector::{ObjectRef, Store};
use kube::runtime::watcher::{self, Event};
use ottla_api::Topic;
use parking_lot::Mutex;
use serde::de::DeserializeOwned;
use serde_json::Value;
use tokio::sync::mpsc;

use crate::lenient::{Lenient, Unread};
use crate::wake::WakeOfUnread;

/// What is watched: all of it lives in namespaces.
pub(crate) trait Watched:
    Resource<DynamicType = (), Scope = NamespaceResourceScope>
    + Clone
    + DeserializeOwned
    + Debug
    + Send
    + Sync
    + 'static
{
}

impl<K> Watched for K where
    K: Resource<DynamicType = (), Scope = NamespaceResourceScope>
        + Clone
        + DeserializeOwned
        + Debug
        + Send
        + Sync
        + 'static
{
}

/// The objects that can't be decoded just now: by kind, namespace and name.
#[derive(Debug, Default)]
pub(crate) struct Unreads(Mutex<BTreeMap<(String, String, String), Unread>>);

impl Unreads {
    /// Why this object can't be decoded; none if it can, or isn't there.
    pub fn why(&self, kind: &str, namespace: &str, name: &str) -> Option<String> {
        let key = (kind.to_owned(), namespace.to_owned(), name.to_owned());
        self.0.lock().get(&key).map(|unread| unread.error.clone())
    }

    /// The name of a Topic that can't be decoded, is older than `topic`, and may have its topic by right.
    pub fn elder_of(&self, topic: &Topic) -> Option<String> {
        let age = |metadata: &ObjectMeta| {
            (metadata.creation_timestamp.clone().map(|time| time.0), metadata.name.clone())
        };
        let unreads = self.0.lock();
        let elder = unreads.iter().find(|((kind, namespace, name), unread)| {
            let says = |pointer: &str| unread.spec.pointer(pointer).and_then(Value::as_str);
            *kind == Topic::kind(&())
                && Some(namespace) == topic.metadata.namespace.as_ref()
                && says("/clusterRef/name").is_none_or(|cluster| cluster == topic.spec.cluster_ref.name)
                && says("/topicName").unwrap_or(name) == topic.topic_name()
                && age(&unread.metadata) < age(&topic.metadata)
        });
        elder.map(|((_, _, name), _)| name.clone())
    }

    /// Those of a kind.
    pub fn of<K: Watched>(&self) -> Vec<Unread> {
        let unreads = self.0.lock();
        unreads
            .iter()
            .filter(|((kind, ..), _)| *kind == K::kind(&()))
            .map(|(_, unread)| unread.clone())
            .collect()
    }

    /// Notes that one can't be decoded, or can.
    pub fn note<K: Watched>(&self, key: &ObjectRef<K>, unread: Option<&Unread>) {
        let key = map_key(key);
        match unread {
            Some(unread) => self.0.lock().insert(key, unread.clone()),
            None => self.0.lock().remove(&key),
        };
    }

    /// These are all of their kind.
    fn replace<K: Watched>(&self, all: Vec<Unread>) {
        let mut unreads = self.0.lock();
        unreads.retain(|(kind, ..), _| *kind != K::kind(&()));
        unreads.extend(all.into_iter().map(|unread| (map_key(&key_of::<K>(&unread)), unread)));
    }
}

fn map_key<K: Watched>(key: &ObjectRef<K>) -> (String, String, String) {
    (K::kind(&()).into_owned(), key.namespace.clone().unwrap_or_default(), key.name.clone())
}

/// An object to tell of.
#[derive(Clone, Debug)]
pub(crate) struct Report {
    /// Its kind.
    pub resource: ApiResource,
    /// The object.
    pub unread: Unread,
}

/// Takes out what can't be decoded.
pub(crate) struct Reader<K: Watched> {
    /// What could be decoded so far.
    pub store: Store<K>,
    /// Where what can't be is noted.
    pub unreads: Arc<Unreads>,
    /// Who tells people.
    pub reports: mpsc::UnboundedSender<Report>,
    /// Who is woken by a change of one that can't be decoded, and that the store doesn't have.
    pub wake: WakeOfUnread,
    /// Those of the list that is under way. Until all of it is there, what was known stands, as in the store.
    pub listed: Vec<Unread>,
}

impl<K: Watched> Reader<K> {
    /// The same events, but for objects that can't be decoded: as long as they can't, they aren't there.
    pub fn read(
        mut self,
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

    /// What is left of one event.
    pub fn event(&mut self, event: Event<Lenient<K>>) -> Option<Event<K>> {
        match event {
            Event::Init => {
                self.listed.clear();
                Some(Event::Init)
            }
            Event::InitDone => {
                self.unreads.replace::<K>(std::mem::take(&mut self.listed));
                Some(Event::InitDone)
            }
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
                self.report(&unread);
                self.listed.push(*unread);
                None
            }
            Event::Apply(Lenient::Unread(unread)) => {
                self.report(&unread);
                self.unreads.note(&key_of::<K>(&unread), Some(&unread));
                self.gone(&unread)
            }
            Event::Delete(Lenient::Unread(unread)) => {
                self.unreads.note(&key_of::<K>(&unread), None);
                self.gone(&unread)
            }
        }
    }

    /// It isn't in the store any more, which wakes others by itself, or never was.
    fn gone(&self, unread: &Unread) -> Option<Event<K>> {
        match self.store.get(&key_of(unread)) {
            Some(old) => Some(Event::Delete((*old).clone())),
            None => {
                (self.wake)(unread);
                None
            }
        }
    }

    fn report(&self, unread: &Unread) {
        let (kind, key) = (K::kind(&()), key_of::<K>(unread));
        tracing::warn!(%kind, %key, error = unread.error, "an object cannot be read, and is left alone");
        // Nobody listens once the operator stops.
        let _ = self.reports.send(Report { resource: ApiResource::erase::<K>(&()), unread: unread.clone() });
    }
}

fn key_of<K: Watched>(unread: &Unread) -> ObjectRef<K> {
    let metadata = &unread.metadata;
    ObjectRef::new(metadata.name.as_deref().unwrap_or_default())
        .within(metadata.namespace.as_deref().unwrap_or_default())
}
