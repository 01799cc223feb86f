//! What a service account really asked of the API server, by the API server's own audit log, and what it may.

use std::collections::BTreeSet;
use std::fmt;
use std::path::PathBuf;

use anyhow::{Context, Result, ensure};
use serde_json::Value;

use crate::kube::{Kube, array};

/// Something that RBAC allows or refuses.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Permission {
    /// The API group; empty for the core.
    pub group: String,
    /// As in `topics` or `topics/status`.
    pub resource: String,
    /// As in `get`.
    pub verb: String,
}

impl Permission {
    fn new(group: &str, resource: &str, verb: &str) -> Permission {
        Permission { group: group.to_owned(), resource: resource.to_owned(), verb: verb.to_owned() }
    }
}

impl fmt::Display for Permission {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let dot = if self.group.is_empty() { "" } else { "." };
        write!(f, "{} {}{dot}{}", self.verb, self.resource, self.group)
    }
}

/// One call of the API.
#[derive(Debug, Clone)]
pub struct Call {
    /// What it needed.
    pub permission: Permission,
    /// The object, as `namespace/name`.
    pub object: String,
    /// The HTTP status of the answer.
    pub code: i64,
    /// Whether no role allowed it. A status of 403 can have another reason, as a namespace that is being
    /// deleted.
    pub forbidden: bool,
}

impl Call {
    fn parse(event: &Value, user: &str) -> Option<Call> {
        if event["user"]["username"] != user {
            return None;
        }
        let text = |pointer: &str| event.pointer(pointer).and_then(Value::as_str).unwrap_or_default();
        // Calls without one ask for versions and schemas, which everybody may.
        let mut resource = text("/objectRef/resource").to_owned();
        if resource.is_empty() {
            return None;
        }
        if !text("/objectRef/subresource").is_empty() {
            resource = format!("{resource}/{}", text("/objectRef/subresource"));
        }
        let permission = Permission::new(text("/objectRef/apiGroup"), &resource, text("/verb"));
        let object = format!("{}/{}", text("/objectRef/namespace"), text("/objectRef/name"));
        let forbidden = event["annotations"]["authorization.k8s.io/decision"] == "forbid";
        Some(Call { permission, object, code: event.pointer("/responseStatus/code")?.as_i64()?, forbidden })
    }

    /// Whether it could have changed something.
    pub fn writes(&self) -> bool {
        ["create", "update", "patch", "delete", "deletecollection"].contains(&self.permission.verb.as_str())
    }

    /// What it needed: applying an object that isn't there needs leave to create it, too.
    fn needed(&self) -> Vec<Permission> {
        let mut needed = vec![self.permission.clone()];
        if self.permission.verb == "patch" && self.code == 201 {
            needed.push(Permission { verb: "create".to_owned(), ..self.permission.clone() });
        }
        needed
    }
}

impl fmt::Display for Call {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {} ({})", self.permission, self.object, self.code)
    }
}

/// The audit log, of one service account.
pub struct Audit {
    log: PathBuf,
    user: String,
}

impl Audit {
    /// Of this service account.
    pub fn new(kube: &Kube, namespace: &str, account: &str) -> Audit {
        Audit { log: kube.bed.audit_log(), user: format!("system:serviceaccount:{namespace}:{account}") }
    }

    /// All calls so far, in the order of their answers.
    ///
    /// # Errors
    /// The log can't be read.
    pub fn calls(&self) -> Result<Vec<Call>> {
        let text = std::fs::read_to_string(&self.log)
            .with_context(|| format!("can't read {}", self.log.display()))?;
        let events = text.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
        Ok(events.filter_map(|event| Call::parse(&event, &self.user)).collect())
    }
}

/// All that these calls needed.
pub fn called(calls: &[Call]) -> BTreeSet<Permission> {
    calls.iter().flat_map(Call::needed).collect()
}

/// All that a service account may by roles that are bound to itself.
///
/// # Errors
/// A role is missing, or one grants more than single resources and verbs.
pub fn granted(kube: &Kube, namespace: &str, account: &str) -> Result<BTreeSet<Permission>> {
    let mut granted = BTreeSet::new();
    for kind in ["clusterrolebindings", "rolebindings"] {
        for binding in kube.list(namespace, &[kind, "--all-namespaces"])? {
            let bound = array(&binding, "/subjects").iter().any(|s| {
                s["kind"] == "ServiceAccount" && s["namespace"] == namespace && s["name"] == account
            });
            if bound {
                granted.extend(rules(kube, &binding)?);
            }
        }
    }
    Ok(granted)
}

fn rules(kube: &Kube, binding: &Value) -> Result<Vec<Permission>> {
    let word = |pointer: &str| binding.pointer(pointer).and_then(Value::as_str).unwrap_or_default();
    let role = kube.get(word("/metadata/namespace"), &[word("/roleRef/kind"), word("/roleRef/name")])?;
    let mut permissions = Vec::new();
    for rule in array(&role, "/rules") {
        let words = |pointer: &str| array(rule, pointer).iter().filter_map(Value::as_str).collect::<Vec<_>>();
        for group in words("/apiGroups") {
            for resource in words("/resources") {
                for verb in words("/verbs") {
                    ensure!(![group, resource, verb].contains(&"*"), "a role grants `*`: {rule}");
                    permissions.push(Permission::new(group, resource, verb));
                }
            }
        }
    }
    Ok(permissions)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn event(verb: &str, code: i64) -> Value {
        json!({
            "verb": verb, "user": {"username": "system:serviceaccount:a:b"}, "responseStatus": {"code": code},
            "annotations": {"authorization.k8s.io/decision": "allow"},
            "objectRef": {"resource": "topics", "subresource": "status", "apiGroup": "ottla.dev", "name": "t", "namespace": "n"},
        })
    }

    #[test]
    fn an_event_of_the_account_is_a_call() {
        let call = Call::parse(&event("patch", 200), "system:serviceaccount:a:b").unwrap();
        assert_eq!(call.to_string(), "patch topics/status.ottla.dev n/t (200)");
        assert!(call.writes() && !call.forbidden);
        assert!(Call::parse(&event("patch", 200), "system:serviceaccount:a:c").is_none());
    }

    #[test]
    fn applying_what_is_not_there_creates_it() {
        let call = Call::parse(&event("patch", 201), "system:serviceaccount:a:b").unwrap();
        let verbs: Vec<String> = called(&[call]).into_iter().map(|p| p.verb).collect();
        assert_eq!(verbs, ["create", "patch"]);
    }
}
