//! A KafkaCluster and what was observed of it, to objects to apply in order.
//!
//! Not here: what the status says (`cluster_status.rs`) and what the objects look like (`build/`).

use std::collections::BTreeMap;
use std::fmt;

use k8s_openapi::api::apps::v1::StatefulSet;
use k8s_openapi::api::core::v1::{PersistentVolumeClaim, Pod, Service};
use ottla_api::{BrokerStatus, KafkaCluster, KafkaClusterStatus, NodePortStatus, UpgradePolicy, to_json};
use ottla_types::{BrokerId, ClusterId};

use crate::build::{self, Broker, BuildInput};
use crate::identity::{cluster_id_from_uid, voters_of};
use crate::names::Names;
use crate::object::{ObjectKind, PlannedObject};
use crate::restart::{Restart, is_ready, next_restart, unrolled};
use crate::retained::{self, Unfit};
use crate::view::ClusterView;

/// Everything that a plan for one KafkaCluster depends on.
#[derive(Clone, Copy, Debug)]
pub struct ClusterObserved<'a> {
    /// The KafkaCluster, as the API server has it.
    pub cluster: &'a KafkaCluster,
    /// Its Services: those that it owns.
    pub services: &'a [Service],
    /// The StatefulSet that it owns.
    pub stateful_set: Option<&'a StatefulSet>,
    /// The pods of that StatefulSet.
    pub pods: &'a [Pod],
    /// Its volume claims, those of an earlier cluster of the same name too.
    pub claims: &'a [PersistentVolumeClaim],
    /// The rack of each node, by the node's name; empty where the spec names no topology key.
    pub racks: &'a BTreeMap<String, String>,
    /// The operator's default broker image: what new clusters get where the spec names none.
    pub image: &'a str,
    /// What the brokers say, if they were heard of.
    pub view: Option<&'a ClusterView>,
    /// Whether they were asked for a while without an answer.
    pub silent: bool,
    /// What brokers say is wrong with the metadata quorum, while none can have its word confirmed by one.
    pub trouble: Option<&'a str>,
}

/// What to do about a KafkaCluster, in order. [`crate::Pass`] goes through the steps.
#[derive(Clone, Debug, PartialEq)]
pub struct ClusterPlan {
    /// The steps.
    pub steps: Vec<Step>,
    /// The record: given once, then kept in the status.
    pub record: Record,
    /// The fingerprints that pods with the present configuration carry, once they are known.
    pub config_hash: Option<String>,
    /// What is left to do until every pod runs as asked, in words; none if nothing is.
    pub unrolled: Option<String>,
}

impl ClusterPlan {
    /// The restart that is next, whether or not something blocks it.
    pub fn restart(&self) -> Option<&Restart> {
        self.steps.iter().find_map(|step| match step {
            Step::Restart(restart) => Some(restart),
            _ => None,
        })
    }
}

/// Who is who in a cluster.
#[derive(Clone, Debug, PartialEq)]
pub struct Record {
    /// The cluster's id.
    pub cluster_id: ClusterId,
    /// The brokers that vote on metadata.
    pub voters: Vec<BrokerId>,
    /// The brokers, by their pods' ordinals.
    pub brokers: Vec<BrokerStatus>,
    /// The broker image in use.
    pub image: String,
}

impl Record {
    /// Whether a status has it. What else the status says of each broker is observed anew each time.
    fn is_in(&self, status: &KafkaClusterStatus) -> bool {
        status.cluster_id.as_deref() == Some(self.cluster_id.to_string().as_str())
            && status.voters.iter().copied().map(BrokerId).eq(self.voters.iter().copied())
            && status.brokers.iter().map(|b| (b.id, &b.pod)).eq(self.brokers.iter().map(|b| (b.id, &b.pod)))
            && status.image.as_ref() == Some(&self.image)
    }
}

/// One step of a plan.
#[derive(Clone, Debug, PartialEq)]
pub enum Step {
    /// Put the plan's [`Record`] into the status, before anything follows from it. Nothing else is done if it
    /// can't be.
    Record,
    /// Apply an object, if that changes anything.
    Apply(PlannedObject),
    /// Delete an object that is no longer asked for.
    Delete {
        /// Its kind.
        kind: ObjectKind,
        /// Its name.
        name: String,
        /// Its uid: one of that name that came since is another's.
        uid: String,
    },
    /// Replace a pod by one as the StatefulSet now says, unless something blocks it.
    Restart(Restart),
    /// Nothing yet.
    Wait {
        /// What is to be done.
        name: String,
        /// What it waits for.
        blocked_by: String,
    },
}

impl Step {
    /// What is done, in words.
    pub fn name(&self) -> String {
        match self {
            Self::Record => "record who is who".to_owned(),
            Self::Apply(object) => format!("apply {} {}", object.kind, object.name),
            Self::Delete { kind, name, .. } => format!("delete {kind} {name}"),
            Self::Restart(restart) => restart.to_string(),
            Self::Wait { name, .. } => name.clone(),
        }
    }
}

impl fmt::Display for ClusterPlan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for step in &self.steps {
            match step {
                Step::Wait { name, blocked_by } => writeln!(f, "wait: {name}: {blocked_by}")?,
                Step::Restart(Restart { blocked_by: Some(blocked_by), .. }) => {
                    writeln!(f, "wait: {}: {blocked_by}", step.name())?;
                }
                step => writeln!(f, "{}", step.name())?,
            }
        }
        Ok(())
    }
}

/// Why there is no plan.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NoPlan {
    /// The resource lacks what the API server gives every resource.
    NoIdentity(NoIdentity),
    /// The volumes that an earlier cluster left don't fit what is asked. [`crate::unfit_status`] says so.
    Unfit(Unfit),
}

impl From<NoIdentity> for NoPlan {
    fn from(error: NoIdentity) -> Self {
        Self::NoIdentity(error)
    }
}

/// The resource lacks what the API server gives every resource.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NoIdentity {
    /// The field that is absent or wrong.
    pub field: &'static str,
}

impl fmt::Display for NoIdentity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the KafkaCluster has no usable {}; was it read from an API server?", self.field)
    }
}

impl std::error::Error for NoIdentity {}

/// Plans for one KafkaCluster.
///
/// # Errors
/// When the resource has no name, namespace or uid, or the volumes that there are don't fit it: then nothing
/// is to be done.
pub fn plan_cluster(observed: ClusterObserved<'_>) -> Result<ClusterPlan, NoPlan> {
    let metadata = &observed.cluster.metadata;
    let cluster = metadata.name.as_deref().ok_or(NoIdentity { field: "metadata.name" })?;
    let namespace = metadata.namespace.as_deref().ok_or(NoIdentity { field: "metadata.namespace" })?;
    let uid = metadata.uid.as_deref().ok_or(NoIdentity { field: "metadata.uid" })?;
    let names = Names { cluster, namespace };
    let status = observed.cluster.status.as_ref();
    if status.is_none_or(|status| status.brokers.is_empty()) {
        retained::check(observed.claims, names, observed.cluster.spec.replicas).map_err(NoPlan::Unfit)?;
    }
    let record = record(observed, names, uid)?;
    let brokers: Vec<Broker> = record
        .brokers
        .iter()
        .enumerate()
        .map(|(ordinal, b)| Broker { id: BrokerId(b.id), ordinal, rack: b.rack.clone() })
        .collect();
    let context = BuildInput {
        names,
        uid,
        spec: &observed.cluster.spec,
        cluster_id: record.cluster_id,
        voters: &record.voters,
        brokers: &brokers,
        image: &record.image,
    };
    let (steps, config_hash, unrolled) = steps(&context, observed, &record);
    Ok(ClusterPlan { steps, record, config_hash, unrolled })
}

fn steps(
    context: &BuildInput<'_>,
    observed: ClusterObserved<'_>,
    record: &Record,
) -> (Vec<Step>, Option<String>, Option<String>) {
    let apply = |object| Step::Apply(object);
    let status = observed.cluster.status.as_ref();
    let mut steps = Vec::new();
    if !status.is_some_and(|status| record.is_in(status)) {
        steps.push(Step::Record);
    }
    steps.push(apply(PlannedObject::new(&build::service_account(context))));
    steps.push(apply(PlannedObject::new(&build::headless_service(context))));
    steps.extend(build::bootstrap_service(context).map(|s| apply(PlannedObject::new(&s))));
    let recorded = status.map(|s| s.node_ports.as_slice()).unwrap_or_default();
    steps.extend(build::nodeport_services(context).iter().map(|s| apply(nodeport_object(s, recorded))));
    steps.push(apply(PlannedObject::new(&build::pod_disruption_budget(context))));
    let mut set_as_asked = None;
    let hash = match build::config_files(context, observed.services) {
        Ok(files) => {
            steps.push(apply(PlannedObject::new(&build::config_map(context, &files))));
            let set = PlannedObject::new(&build::stateful_set(context, &files.hash));
            set_as_asked = observed.stateful_set.filter(|live| !set.changes(Some(&to_json(live))));
            steps.push(apply(set));
            Some(files.hash)
        }
        Err(service) => {
            let blocked_by = format!("the Service {service} has no node port yet");
            steps.push(Step::Wait { name: "write the brokers' configuration".to_owned(), blocked_by });
            None
        }
    };
    steps.extend(deletions(&steps, observed.services));
    if let Some(set) = set_as_asked {
        let restart = next_restart(set, observed.pods, &record.brokers, observed.view);
        steps.extend(restart.map(Step::Restart));
    }
    (steps, hash, unrolled(set_as_asked, observed.pods, &record.brokers))
}

// Clients know its port: it is given up only for one that the spec names, or if another Service has it by
// now.
fn nodeport_object(service: &Service, recorded: &[NodePortStatus]) -> PlannedObject {
    let object = PlannedObject::new(service);
    let had = recorded.iter().find(|had| had.service == object.name);
    match had.filter(|_| build::node_port_of(service).is_none()) {
        Some(had) => object.with_node_port(had.port),
        None => object,
    }
}

// The Services of a listener that is gone from the spec.
fn deletions(steps: &[Step], live: &[Service]) -> Vec<Step> {
    let wanted = |name: &str| {
        steps.iter().any(|s| matches!(s, Step::Apply(o) if o.kind == ObjectKind::Service && o.name == name))
    };
    let named = live.iter().filter_map(|service| {
        Some((service.metadata.name.clone()?, service.metadata.uid.clone().unwrap_or_default()))
    });
    let gone = named.filter(|(name, _)| !wanted(name));
    gone.map(|(name, uid)| Step::Delete { kind: ObjectKind::Service, name, uid }).collect()
}

// What is on record stays: the status first, then what the volumes of an earlier cluster of this name say.
fn record(observed: ClusterObserved<'_>, names: Names<'_>, uid: &str) -> Result<Record, NoIdentity> {
    let status = observed.cluster.status.as_ref();
    let retained = retained::retained(observed.claims);
    let cluster_id = status
        .and_then(|s| s.cluster_id.as_deref()?.parse().ok())
        .or(retained.cluster_id)
        .or_else(|| cluster_id_from_uid(uid))
        .ok_or(NoIdentity { field: "metadata.uid" })?;
    let brokers = brokers(observed, names);
    let ids: Vec<BrokerId> = brokers.iter().map(|b| BrokerId(b.id)).collect();
    let recorded = status.map(|s| s.voters.iter().copied().map(BrokerId).collect::<Vec<_>>());
    let voters = recorded
        .filter(|voters| !voters.is_empty())
        .or(retained.voters)
        .filter(|voters| voters.iter().all(|v| ids.contains(v)))
        .unwrap_or_else(|| voters_of(&ids).to_vec());
    Ok(Record { cluster_id, voters, brokers, image: image(observed) })
}

fn brokers(observed: ClusterObserved<'_>, names: Names<'_>) -> Vec<BrokerStatus> {
    let recorded = observed.cluster.status.as_ref().map(|s| s.brokers.as_slice()).unwrap_or_default();
    let wanted = usize::try_from(observed.cluster.spec.replicas).unwrap_or_default();
    // Never fewer than there were: a broker's records would go with it.
    let count = wanted.max(recorded.len());
    let mut next_id = recorded.iter().map(|b| b.id + 1).max().unwrap_or(0);
    let mut brokers = Vec::with_capacity(count);
    for ordinal in 0..count {
        let pod_name = names.pod(ordinal);
        let known = recorded.iter().find(|b| b.pod == pod_name);
        let id = known.map(|b| b.id).unwrap_or_else(|| {
            next_id += 1;
            next_id - 1
        });
        let pod = observed.pods.iter().find(|p| p.metadata.name.as_deref() == Some(pod_name.as_str()));
        let node = pod.and_then(|p| p.spec.as_ref()?.node_name.as_deref());
        let rack = node.and_then(|node| observed.racks.get(node)).cloned();
        let rack = rack.or_else(|| known.and_then(|b| b.rack.clone()));
        let rack = rack.filter(|_| observed.cluster.spec.rack.is_some());
        let seen = observed.view.and_then(|view| view.brokers.iter().find(|b| b.id.0 == id));
        let directory_id = seen.map(|b| b.directory_id.clone()).filter(|id| !id.is_empty());
        let directory_id = directory_id.or_else(|| known.and_then(|b| b.directory_id.clone()));
        let ready = pod.is_some_and(is_ready);
        brokers.push(BrokerStatus { id, pod: pod_name, rack, directory_id, ready });
    }
    brokers
}

// The spec's; else the one on record, so that another default of the operator alone restarts nobody. Brokers
// that run without a record were made by an operator that kept none.
fn image(observed: ClusterObserved<'_>) -> String {
    let spec = &observed.cluster.spec;
    spec.image
        .clone()
        .or_else(|| {
            let recorded = observed.cluster.status.as_ref().and_then(|status| status.image.clone());
            recorded
                .or_else(|| image_of(observed.stateful_set?))
                .filter(|_| spec.upgrade == UpgradePolicy::Manual)
        })
        .unwrap_or_else(|| observed.image.to_owned())
}

fn image_of(set: &StatefulSet) -> Option<String> {
    set.spec.as_ref()?.template.spec.as_ref()?.containers.first()?.image.clone()
}
