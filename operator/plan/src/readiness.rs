//! What the conditions Ready and Progressing of a resource say together: they have one reason and one
//! message.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
use ottla_api::{PROGRESSING, READY, condition, set_condition};

/// How far a resource is on the way to what its spec asks.
pub(crate) struct Readiness {
    ready: bool,
    progressing: bool,
    reason: &'static str,
    message: String,
}

impl Readiness {
    /// All is as the spec asks.
    pub(crate) fn ready(reason: &'static str, message: String) -> Self {
        Self { ready: true, progressing: false, reason, message }
    }

    /// It isn't yet, and needs nobody's attention.
    pub(crate) fn working(reason: &'static str, message: String) -> Self {
        Self { ready: false, progressing: true, reason, message }
    }

    /// It isn't, and won't be by itself.
    pub(crate) fn stuck(reason: &'static str, message: String) -> Self {
        Self { ready: false, progressing: false, reason, message }
    }

    /// Sets both conditions.
    pub(crate) fn set(self, conditions: &mut Vec<Condition>, generation: Option<i64>, now: Time) {
        let Self { ready, progressing, reason, message } = self;
        set_condition(conditions, condition(READY, ready, reason, &message, generation, now.clone()));
        set_condition(conditions, condition(PROGRESSING, progressing, reason, &message, generation, now));
    }
}
