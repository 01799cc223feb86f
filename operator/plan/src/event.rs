//! Events: what people should hear of when it happens.

use std::fmt;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use ottla_api::{PROGRESSING, READY, find_condition};

/// Something to tell, as a Kubernetes Event or a line on the terminal.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Event {
    /// Whether a person should look at it.
    pub warning: bool,
    /// Why, in one word.
    pub reason: String,
    /// What happened.
    pub message: String,
}

impl fmt::Display for Event {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kind = if self.warning { "Warning" } else { "Normal" };
        write!(f, "{kind} {}: {}", self.reason, self.message)
    }
}

/// An event if Ready came, went, or gives another reason for its absence.
pub(crate) fn ready_changed(before: &[Condition], after: &[Condition]) -> Option<Event> {
    let (old, new) = (find_condition(before, READY), find_condition(after, READY)?);
    let same = old.is_some_and(|old| old.status == new.status && old.reason == new.reason);
    let is_ready = new.status == "True";
    if same {
        return None;
    }
    Some(Event {
        // What still makes progress needs nobody's attention.
        warning: !is_ready && find_condition(after, PROGRESSING).is_none_or(|c| c.status != "True"),
        reason: if is_ready { "Ready".to_owned() } else { new.reason.clone() },
        message: new.message.clone(),
    })
}
