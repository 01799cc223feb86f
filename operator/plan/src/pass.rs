//! One pass through the steps of a plan: which step is tried next, and what came of those before it.
//!
//! The order is the plan's. A step is only ever left out, where it would do harm after one that failed. Who
//! carries the steps out decides nothing: the controller asks for the next one, tries it and notes what came
//! of it.

use std::slice;

use crate::cluster::{ClusterPlan, Step};
use crate::object::ObjectKind;

/// The reason of a cluster whose steps were refused.
pub const STEP_FAILED: &str = "StepFailed";
/// The reason of a cluster that finds a name taken by an object that isn't its own.
pub const CONFLICT: &str = "Conflict";

/// A step that was tried and refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StepFailure {
    /// The step's name.
    pub step: String,
    /// The kind of the object that it was to apply, if it was such a step.
    pub applies: Option<ObjectKind>,
    /// What was said.
    pub error: String,
    /// [`STEP_FAILED`], or [`CONFLICT`], which a person has to settle.
    pub reason: &'static str,
}

/// What came of the plan's restart when it was tried.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RestartOutcome {
    /// The pod is being evicted.
    Begun,
    /// The brokers or a PodDisruptionBudget object, in words.
    HeldUp(String),
    /// The eviction was refused; a [`StepFailure`] says why.
    Failed,
}

/// What came of the steps that were tried. The default is that of a plan whose first step is yet to be tried.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PassOutcome {
    /// The steps that failed, in the order of the plan.
    pub failures: Vec<StepFailure>,
    /// What came of the restart; none if it wasn't tried.
    pub restart: Option<RestartOutcome>,
}

impl PassOutcome {
    /// Whether another object has a name that this cluster needs.
    fn has_conflict(&self) -> bool {
        self.failures.iter().any(|failure| failure.reason == CONFLICT)
    }

    /// Whether the object of one of these kinds couldn't be applied.
    fn lacks(&self, kinds: &[ObjectKind]) -> bool {
        self.failures.iter().filter_map(|failure| failure.applies).any(|kind| kinds.contains(&kind))
    }

    /// Whether a pod that is made now would pass for new, and have what a refused step was to change.
    fn holds_pods(&self) -> bool {
        // Ports of Services stand in the settings, which change with them: a pod that has old ones is old.
        self.has_conflict()
            || self.lacks(&[ObjectKind::ServiceAccount, ObjectKind::ConfigMap, ObjectKind::StatefulSet])
    }

    /// Whether a step is not to be tried.
    fn leaves_out(&self, step: &Step) -> bool {
        match step {
            Step::Wait { .. } => true,
            // Brokers begin with what is theirs: not with another's account, settings or addresses. And the
            // template names the settings that its pods are to have: they have to be there.
            Step::Apply(object) if object.kind == ObjectKind::StatefulSet => {
                self.has_conflict() || self.lacks(&[ObjectKind::ConfigMap])
            }
            // A pod that isn't ready may wait for just that correction, whatever else fails.
            Step::Restart(restart) => {
                restart.blocked_by.is_some()
                    || self.holds_pods()
                    || (restart.ready && !self.failures.is_empty())
            }
            // None of these needs another's success to be right.
            Step::Record | Step::Apply(_) | Step::Delete { .. } => false,
        }
    }
}

/// A pass through the steps of a plan, in its order.
#[derive(Clone, Debug)]
pub struct Pass<'a> {
    steps: slice::Iter<'a, Step>,
    outcome: PassOutcome,
}

impl<'a> Pass<'a> {
    /// Begins with the first step.
    pub fn new(plan: &'a ClusterPlan) -> Self {
        Self { steps: plan.steps.iter(), outcome: PassOutcome::default() }
    }

    /// The next step of the plan that is to be tried after what came of those before; none at the end.
    pub fn next_step(&mut self) -> Option<&'a Step> {
        let outcome = &self.outcome;
        self.steps.find(|step| !outcome.leaves_out(step))
    }

    /// Notes that a step failed, why, and with which reason ([`STEP_FAILED`] or [`CONFLICT`]).
    pub fn failed(&mut self, step: &Step, error: String, reason: &'static str) {
        let applies = match step {
            Step::Apply(object) => Some(object.kind),
            Step::Restart(_) => {
                self.outcome.restart = Some(RestartOutcome::Failed);
                None
            }
            Step::Record | Step::Delete { .. } | Step::Wait { .. } => None,
        };
        self.outcome.failures.push(StepFailure { step: step.name(), applies, error, reason });
    }

    /// Notes that the pod of the plan's restart is being evicted.
    pub fn restart_begun(&mut self) {
        self.outcome.restart = Some(RestartOutcome::Begun);
    }

    /// Notes what held up the plan's restart.
    pub fn restart_held_up(&mut self, by: String) {
        self.outcome.restart = Some(RestartOutcome::HeldUp(by));
    }

    /// Ends the pass: what came of it.
    pub fn end(self) -> PassOutcome {
        self.outcome
    }
}
