//! Objects that can't be decoded: they are left out, one by one, so that they silence nobody else.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, ObjectMeta};
use kube::Resource;
use kube::core::NamespaceResourceScope;
use serde::de::{DeserializeOwned, Error as _};
use serde::{Deserialize, Deserializer};
use serde_json::Value;
use std::borrow::Cow;

/// An object as the API server has it: decoded, or what can be told of it all the same.
#[derive(Clone, Debug)]
pub(crate) enum Lenient<K> {
    /// It is of its kind.
    Read(K),
    /// It isn't, as this operator knows the kind.
    Unread(Box<Unread>),
}

/// An object that this operator can't decode.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Unread {
    /// Its metadata.
    pub metadata: ObjectMeta,
    /// What its status says by now.
    pub conditions: Vec<Condition>,
    /// Why it can't be decoded.
    pub error: String,
    /// What it asks for, as it is.
    pub spec: Value,
}

impl Unread {
    /// Its name.
    pub fn name(&self) -> &str {
        self.metadata.name.as_deref().unwrap_or_default()
    }

    /// Its namespace.
    pub fn namespace(&self) -> &str {
        self.metadata.namespace.as_deref().unwrap_or_default()
    }
}

impl<'de, K: DeserializeOwned> Deserialize<'de> for Lenient<K> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let raw = Value::deserialize(deserializer)?;
        let error = match K::deserialize(&raw) {
            Ok(object) => return Ok(Self::Read(object)),
            Err(error) => error.to_string(),
        };
        // The API server itself keeps metadata as they should be.
        let metadata = ObjectMeta::deserialize(&raw["metadata"]).map_err(D::Error::custom)?;
        let conditions = Vec::deserialize(&raw["status"]["conditions"]).unwrap_or_default();
        let spec = raw["spec"].clone();
        Ok(Self::Unread(Box::new(Unread { metadata, conditions, error, spec })))
    }
}

impl<K: Resource<DynamicType = (), Scope = NamespaceResourceScope>> Resource for Lenient<K> {
    type DynamicType = ();
    type Scope = NamespaceResourceScope;

    fn kind((): &()) -> Cow<'_, str> {
        K::kind(&())
    }

    fn group((): &()) -> Cow<'_, str> {
        K::group(&())
    }

    fn version((): &()) -> Cow<'_, str> {
        K::version(&())
    }

    fn plural((): &()) -> Cow<'_, str> {
        K::plural(&())
    }

    fn meta(&self) -> &ObjectMeta {
        match self {
            Self::Read(object) => object.meta(),
            Self::Unread(unread) => &unread.metadata,
        }
    }

    fn meta_mut(&mut self) -> &mut ObjectMeta {
        match self {
            Self::Read(object) => object.meta_mut(),
            Self::Unread(unread) => &mut unread.metadata,
        }
    }
}
