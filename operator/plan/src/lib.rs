//! Spec and observed state to a plan, pure: objects in order, steps, status, events.
//!
//! The controller carries plans out on Kubernetes, `operator/local` with processes on one machine. Nothing
//! here asks or writes anything: what was observed comes in as arguments, `now` too.

mod adoption;
mod build;
mod cluster;
mod cluster_status;
mod event;
mod identity;
mod names;
mod object;
mod pass;
mod properties;
mod readiness;
mod restart;
mod retained;
mod topic;
mod view;

pub use build::{CLUSTER_ID_ANNOTATION, CONFIG_HASH_ANNOTATION, TEMPLATE_HASH_ANNOTATION, VOTERS_ANNOTATION};
pub use cluster::{ClusterObserved, ClusterPlan, NoIdentity, NoPlan, Record, Step, plan_cluster};
pub use cluster_status::{cluster_status, unfit_status};
pub use event::Event;
pub use identity::{VOTERS_MAX, cluster_id_from_uid, voters_of};
pub use names::{CLUSTER_LABEL, FIELD_MANAGER, Names};
pub use object::{Foreign, INTENT_ANNOTATION, ObjectKind, PlannedObject};
pub use pass::{CONFLICT, Pass, PassOutcome, RestartOutcome, STEP_FAILED, StepFailure};
pub use properties::{BrokerPlace, Endpoint, Member, loopback_place, restart_text, server_properties};
pub use restart::{Restart, eviction, restart_hindrance, stop_hindrance};
pub use retained::Unfit;
pub use topic::{ClusterState, TOPIC_FINALIZER, TopicAction, TopicObserved, TopicPlan, elder_of, plan_topic};
pub use view::{BrokerView, ClusterView, PartitionView, TopicView};
