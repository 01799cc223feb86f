//! Spec and observed state to a plan, pure: objects in order, steps, status, events.
//!
//! The controller carries plans out on Kubernetes, `operator/local` with processes on one machine. Nothing here
//! asks or writes anything: what was observed comes in as arguments, `now` too.

mod event;
mod identity;
mod properties;
mod topic;
mod view;

pub use event::Event;
pub use identity::{VOTERS_MAX, cluster_id_from_uid, voters_of};
pub use properties::{BrokerPlace, Endpoint, Voter, loopback_place, server_properties, setting_text};
pub use topic::{ClusterState, TOPIC_FINALIZER, TopicAction, TopicObserved, TopicPlan, elder_of, plan_topic};
pub use view::{BrokerView, ClusterView, PartitionView, TopicView};
