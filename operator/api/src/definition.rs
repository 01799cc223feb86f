//! Whether a definition that an API server has is the one that the types here need.
//!
//! A definition says of itself by annotations which version of Ottla it is from, and what it holds: the API
//! server completes what it is given, so that the text alone can't be compared.

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use sha2::{Digest, Sha256};

/// The annotation of a definition with the version that it is from.
pub const DEFINITION_VERSION_ANNOTATION: &str = "ottla.dev/version";
/// The annotation of a definition with a fingerprint of its spec.
pub const DEFINITION_ANNOTATION: &str = "ottla.dev/definition";

/// The first 16 hexadecimal digits of the SHA-256 of `text`.
pub(crate) fn fingerprint(text: &str) -> String {
    Sha256::digest(text.as_bytes()).iter().take(8).map(|byte| format!("{byte:02x}")).collect()
}

/// What keeps `live` from being the definition that is needed, and what to do; none if nothing does.
///
/// A newer one serves: it is brought up before the operator is.
pub fn definition_trouble(
    needed: &CustomResourceDefinition,
    live: Option<&CustomResourceDefinition>,
) -> Option<String> {
    let name = needed.metadata.name.as_deref().unwrap_or_default();
    let version = said(needed, DEFINITION_VERSION_ANNOTATION).unwrap_or_default();
    let Some(live) = live else {
        return Some(format!(
            "the definition {name} is not there: install the chart ottla-crds {version}, or apply the files of crds/"
        ));
    };
    if !is_established(live) {
        return Some(format!("the definition {name} is not established yet"));
    }
    let has = said(live, DEFINITION_VERSION_ANNOTATION);
    let is_newer = has.is_some_and(|has| numbers(has) > numbers(version));
    let is_same = said(live, DEFINITION_ANNOTATION) == said(needed, DEFINITION_ANNOTATION);
    // The same definition serves whatever version it is from: that of a release may be no other than that of
    // the one before.
    if is_newer || is_same {
        return None;
    }
    let had = match has {
        Some(has) if has == version => format!("another one of version {version} than this operator's own"),
        Some(has) => format!("of version {has}, and this operator needs {version}"),
        None => format!("older than this operator, which needs version {version}"),
    };
    let release = said(live, "meta.helm.sh/release-name").zip(said(live, "meta.helm.sh/release-namespace"));
    let remedy = match release {
        Some((release, namespace)) => {
            format!("upgrade the release {release} in the namespace {namespace}, to which it belongs")
        }
        None => "apply the files of crds/".to_owned(),
    };
    Some(format!("the definition {name} is {had}: {remedy}"))
}

fn said<'a>(definition: &'a CustomResourceDefinition, key: &str) -> Option<&'a str> {
    definition.metadata.annotations.as_ref()?.get(key).map(String::as_str)
}

fn is_established(definition: &CustomResourceDefinition) -> bool {
    let conditions = definition.status.as_ref().and_then(|status| status.conditions.as_deref());
    conditions.unwrap_or_default().iter().any(|c| c.type_ == "Established" && c.status == "True")
}

/// A version such as 0.10.2, so that it can be compared.
fn numbers(version: &str) -> Vec<u64> {
    let core = version.split(['-', '+']).next().unwrap_or_default();
    core.split('.').map(|number| number.parse().unwrap_or_default()).collect()
}
