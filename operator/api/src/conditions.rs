//! Conditions as Kubernetes has them: type, status, reason, message, and since when.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};

/// Whether the thing is as its spec asks.
pub const READY: &str = "Ready";
/// Whether the operator still has something to do about it.
pub const PROGRESSING: &str = "Progressing";

/// A condition as it would be if it had just changed at `now`.
pub fn condition(
    kind: &str,
    status: bool,
    reason: &str,
    message: &str,
    generation: Option<i64>,
    now: Time,
) -> Condition {
    Condition {
        type_: kind.to_owned(),
        status: if status { "True" } else { "False" }.to_owned(),
        reason: reason.to_owned(),
        message: message.to_owned(),
        observed_generation: generation,
        last_transition_time: now,
    }
}

/// The condition of type `kind`, if there is one.
pub fn find_condition<'a>(conditions: &'a [Condition], kind: &str) -> Option<&'a Condition> {
    conditions.iter().find(|c| c.type_ == kind)
}

/// Puts `new` in the place of the one of its type; its time stays while the status stays.
pub fn set_condition(conditions: &mut Vec<Condition>, mut new: Condition) {
    match conditions.iter_mut().find(|c| c.type_ == new.type_) {
        Some(old) => {
            if old.status == new.status {
                new.last_transition_time = old.last_transition_time.clone();
            }
            *old = new;
        }
        None => conditions.push(new),
    }
}

/// Whether both say the same, whenever they began to.
pub fn same_conditions(a: &[Condition], b: &[Condition]) -> bool {
    let said = |c: &Condition| {
        (c.type_.clone(), c.status.clone(), c.reason.clone(), c.message.clone(), c.observed_generation)
    };
    a.iter().map(said).eq(b.iter().map(said))
}
