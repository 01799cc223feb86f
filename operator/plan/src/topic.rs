//! A Topic and what is known of its cluster, to what should be asked of the cluster and what the status says.

use std::collections::BTreeMap;
use std::fmt;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use ottla_api::{
    ADOPT_ANNOTATION, DeletionPolicy, KafkaClusterSpec, PartitionStatus, REPLICAS_DEFAULT, Topic, TopicStatus,
};
use ottla_placement::{Broker, loads, place, substitute};
use ottla_types::BrokerId;

use crate::adoption::{self, Differences, SettingsRecord};
use crate::event::{Event, ready_changed};
use crate::readiness::Readiness;
use crate::view::{ClusterView, PartitionView, TopicView, counts, troubles};

/// The finalizer of Topics whose deletion deletes records.
pub const TOPIC_FINALIZER: &str = "ottla.dev/topic";

/// The setting that says what an acknowledgement means, and its value that promises less.
const ACK_DURABILITY: &str = "ack.durability";
const WRITTEN: &str = "written";

/// No broker's id.
const NOBODY: BrokerId = BrokerId(-1);

/// The most partitions whose replicas the status shows.
const ASSIGNMENTS_SHOWN_MAX: usize = 64;

/// Everything that a plan for one Topic depends on.
#[derive(Clone, Copy, Debug)]
pub struct TopicObserved<'a> {
    /// The Topic.
    pub topic: &'a Topic,
    /// The name of another Topic of the same cluster and topic name that is older, if there is one.
    pub elder: Option<&'a str>,
    /// What is asked of the cluster, if it is there.
    pub spec: Option<&'a KafkaClusterSpec>,
    /// What is known of the cluster.
    pub cluster: ClusterState<'a>,
    /// What the brokers said to the last attempt, if they refused.
    pub refusal: Option<&'a str>,
}

/// What is known of the cluster of a Topic.
#[derive(Clone, Copy, Debug)]
pub enum ClusterState<'a> {
    /// There is no KafkaCluster of that name, or it is being deleted.
    Absent,
    /// It is there and doesn't answer (yet).
    Unreachable(&'a str),
    /// It answers.
    Known(&'a ClusterView),
}

/// What to do about a Topic.
#[derive(Clone, Debug, PartialEq)]
pub struct TopicPlan {
    /// What to ask of the cluster, if anything.
    pub action: Option<TopicAction>,
    /// Whether the Topic should have [`TOPIC_FINALIZER`] once the action is done.
    pub finalizer: bool,
    /// What the status should say.
    pub status: TopicStatus,
    /// Whether the status is to be written, and the events told, before the action: it shows what is changed,
    /// or records which settings become this Topic's own.
    pub is_told_first: bool,
    /// Whether the deletion is done by this view, which may be old: the brokers are to be asked before the
    /// finalizer goes.
    pub is_gone: bool,
    /// What to tell besides.
    pub events: Vec<Event>,
}

/// What to ask of a cluster about a topic: the control API's ApplyTopic and DeleteTopic.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TopicAction {
    /// Create the topic, or bring its partitions and settings to this.
    Apply {
        /// The topic's name.
        name: String,
        /// All of its settings.
        config: BTreeMap<String, String>,
        /// The replicas of all partitions, those that exist included.
        assignments: Vec<Vec<BrokerId>>,
        /// The version that this was computed from.
        metadata_version: u64,
        /// The id that the topic must have, if it exists.
        expected_id: Option<String>,
    },
    /// Delete the topic and its records.
    Delete {
        /// The topic's name.
        name: String,
        /// The id that it must have.
        expected_id: String,
    },
}

impl fmt::Display for TopicAction {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Apply { name, config, assignments, metadata_version, expected_id } => {
                let verb = if expected_id.is_some() { "change" } else { "create" };
                write!(f, "{verb} topic {name} from metadata version {metadata_version}:")?;
                for (index, replicas) in assignments.iter().enumerate() {
                    let ids: Vec<String> = replicas.iter().map(ToString::to_string).collect();
                    write!(f, " {index}→{}", ids.join("/"))?;
                }
                config.iter().try_for_each(|(key, value)| write!(f, " {key}={value}"))
            }
            Self::Delete { name, expected_id } => write!(f, "delete topic {name} (id {expected_id})"),
        }
    }
}

impl fmt::Display for TopicPlan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.action {
            Some(action) => writeln!(f, "action: {action}")?,
            None => writeln!(f, "action: none")?,
        }
        writeln!(f, "finalizer: {}", self.finalizer)?;
        for condition in &self.status.conditions {
            writeln!(
                f,
                "{}: {} {}: {}",
                condition.type_, condition.status, condition.reason, condition.message
            )?;
        }
        self.events.iter().try_for_each(|event| writeln!(f, "event: {event}"))
    }
}

/// The Topic that has a topic name by right: the oldest, and of equals the first by name.
pub fn elder_of<'a>(topic: &Topic, others: impl IntoIterator<Item = &'a Topic>) -> Option<&'a Topic> {
    let age = |t: &Topic| (t.metadata.creation_timestamp.clone().map(|t| t.0), t.metadata.name.clone());
    others
        .into_iter()
        .filter(|other| other.metadata.name != topic.metadata.name)
        .filter(|other| other.metadata.namespace == topic.metadata.namespace)
        .filter(|other| other.spec.cluster_ref == topic.spec.cluster_ref)
        .filter(|other| other.topic_name() == topic.topic_name())
        .filter(|other| age(other) < age(topic))
        .min_by_key(|other| age(other))
}

/// Plans for one Topic. Plan, do the action, observe again and plan again: the second plan's status is the
/// one to write.
pub fn plan_topic(observed: TopicObserved<'_>, now: Time) -> TopicPlan {
    let topic = observed.topic;
    let deleted = topic.metadata.deletion_timestamp.is_some();
    let mut plan = TopicPlan {
        action: None,
        finalizer: !deleted && topic.spec.deletion_policy == DeletionPolicy::Delete,
        status: topic.status.clone().unwrap_or_default(),
        is_told_first: false,
        is_gone: false,
        events: Vec::new(),
    };
    let readiness =
        if deleted { plan_deletion(observed, &mut plan) } else { plan_being(observed, &mut plan) };
    plan.status.observed_generation = topic.metadata.generation;
    let before = topic.status.as_ref().map(|s| s.conditions.clone()).unwrap_or_default();
    readiness.set(&mut plan.status.conditions, topic.metadata.generation, now);
    plan.events.extend(ready_changed(&before, &plan.status.conditions));
    plan
}

fn plan_deletion(observed: TopicObserved<'_>, plan: &mut TopicPlan) -> Readiness {
    let topic = observed.topic;
    let name = topic.topic_name();
    let ours = plan.status.topic_id.clone();
    let done = |message: &str| Readiness::working("Deleting", message.to_owned());
    // Only what this Topic made or had in its care is deleted, and only while it is the one to say so.
    let (DeletionPolicy::Delete, Some(id), None) = (topic.spec.deletion_policy, ours, observed.elder) else {
        return done("the topic stays");
    };
    match observed.cluster {
        ClusterState::Absent => done("the cluster is gone, and the topic with it"),
        ClusterState::Unreachable(why) => {
            plan.finalizer = true;
            Readiness::working(
                "ClusterUnreachable",
                format!("the topic is deleted once the brokers answer: {why}"),
            )
        }
        ClusterState::Known(view) if view.topics.get(name).is_some_and(|t| t.id == id) => {
            plan.finalizer = true;
            if let Some(refusal) = observed.refusal {
                return Readiness::stuck("Refused", refusal.to_owned());
            }
            plan.action = Some(TopicAction::Delete { name: name.to_owned(), expected_id: id });
            done("the topic is being deleted")
        }
        ClusterState::Known(_) => {
            plan.is_gone = true;
            done("the topic is gone")
        }
    }
}

fn plan_being(observed: TopicObserved<'_>, plan: &mut TopicPlan) -> Readiness {
    let topic = observed.topic;
    let name = topic.topic_name();
    plan.status.topic_name = Some(name.to_owned());
    if let Some(elder) = observed.elder {
        forget(&mut plan.status);
        let message =
            format!("the Topic {elder} came first and has the topic name {name}: delete one of the two");
        return Readiness::stuck("Conflict", message);
    }
    let view = match observed.cluster {
        ClusterState::Absent => {
            let cluster = &topic.spec.cluster_ref.name;
            let message = format!("there is no KafkaCluster {cluster} in this namespace");
            return Readiness::stuck("ClusterNotFound", message);
        }
        ClusterState::Unreachable(why) => return Readiness::working("ClusterUnreachable", why.to_owned()),
        ClusterState::Known(view) => view,
    };
    let found = view.topics.get(name);
    let before = plan.status.clone();
    match found {
        Some(found) => show(found, &mut plan.status),
        None => forget(&mut plan.status),
    }
    let Some(found) = found else { return plan_creation(observed, view, plan) };
    let factor = replication_factor(topic, observed.spec, Some(found));
    // A topic that was there before this Topic is in its care only once it is as asked: till then it may go
    // its own way.
    let is_adopted = before.topic_id.as_ref() == Some(&found.id);
    let on_record = adoption::on_record(topic, found, &before);
    let managed = &on_record.managed;
    plan.status.unmanaged_config = adoption::unmanaged(topic, found, managed);
    let differs = if is_adopted {
        Differences::default()
    } else {
        adoption::differences(topic, found, managed, factor)
    };
    if !differs.all.is_empty() {
        plan.status.topic_id = None;
    }
    if let Some(refusal) = observed.refusal {
        plan.status.managed_config = Some(adoption::left_after_refusal(found, managed.clone()));
        plan.status.asked_config.clear();
        return Readiness::stuck("Refused", refusal.to_owned());
    }
    plan.status.managed_config = Some(managed.clone());
    plan.status.asked_config.clone_from(&on_record.asked);
    if let Some(stuck) = too_many_partitions(topic, found) {
        return stuck;
    }
    if !differs.deletes_records.is_empty() && !adoption::is_agreed(topic, found) {
        return held(topic, found, &differs);
    }
    record(topic, found, &on_record, &mut plan.status);
    let config = adoption::wanted(topic, found, managed);
    if is_as_asked(topic, found, factor, &config) {
        if !is_adopted {
            plan.events.extend(adopted(topic, &plan.status));
        }
        return settled(found, factor);
    }
    plan.is_told_first = !is_adopted || !is_same_record(&plan.status, &before);
    apply(observed, view, config, factor, plan, changing(is_adopted, &differs))
}

fn changing(is_adopted: bool, differs: &Differences) -> Readiness {
    if is_adopted {
        return Readiness::working("Applying", "the topic is being changed".to_owned());
    }
    let message =
        format!("the topic was there before this Topic, and is changed: {}", differs.all.join("; "));
    Readiness::working("Adopting", message)
}

/// Puts on record what is about to be asked for; `before` is what is.
fn record(topic: &Topic, found: &TopicView, before: &SettingsRecord, status: &mut TopicStatus) {
    let managed = adoption::managed(topic, Some(found), &before.managed);
    status.asked_config = adoption::asked(topic, found, before, &managed);
    status.managed_config = Some(managed);
}

fn is_same_record(a: &TopicStatus, b: &TopicStatus) -> bool {
    (&a.managed_config, &a.asked_config) == (&b.managed_config, &b.asked_config)
}

fn plan_creation(observed: TopicObserved<'_>, view: &ClusterView, plan: &mut TopicPlan) -> Readiness {
    if let Some(refusal) = observed.refusal {
        return Readiness::stuck("Refused", refusal.to_owned());
    }
    let topic = observed.topic;
    let managed = adoption::managed(topic, None, &BTreeMap::new());
    plan.is_told_first = !managed.is_empty();
    plan.status.managed_config = Some(managed);
    let factor = replication_factor(topic, observed.spec, None);
    let verdict = Readiness::working("Applying", "the topic is being created".to_owned());
    apply(observed, view, adoption::named(topic), factor, plan, verdict)
}

/// Plans to bring the topic to this; `verdict` is what to say of it.
fn apply(
    observed: TopicObserved<'_>,
    view: &ClusterView,
    config: BTreeMap<String, String>,
    factor: usize,
    plan: &mut TopicPlan,
    verdict: Readiness,
) -> Readiness {
    let name = observed.topic.topic_name();
    match assignments(observed.topic, view, factor) {
        Ok(assignments) => {
            plan.action = Some(TopicAction::Apply {
                name: name.to_owned(),
                config,
                assignments,
                metadata_version: view.metadata_version,
                expected_id: view.topics.get(name).map(|t| t.id.clone()),
            });
            verdict
        }
        Err(why) => Readiness::working("NotPlaceable", why),
    }
}

fn held(topic: &Topic, found: &TopicView, differs: &Differences) -> Readiness {
    let mut message = format!(
        "the topic was there before this Topic, whose manifest would have it keep fewer records: {}. Correct the manifest, or annotate this Topic with {ADOPT_ANNOTATION}={} to have it so",
        differs.deletes_records.join("; "),
        found.id
    );
    let said = topic.metadata.annotations.as_ref().and_then(|a| a.get(ADOPT_ANNOTATION));
    if let Some(said) = said {
        message += &format!(" ({said} is not the id of this topic)");
    }
    if differs.all.len() > differs.deletes_records.len() {
        message += &format!(". In all: {}", differs.all.join("; "));
    }
    Readiness::stuck("AdoptionHeld", message)
}

/// What to tell of a topic that was there and is in this Topic's care from now on, if it isn't what the
/// manifest says.
fn adopted(topic: &Topic, status: &TopicStatus) -> Option<Event> {
    let mut parts: Vec<String> = Vec::new();
    if !status.unmanaged_config.is_empty() {
        let kept = status.unmanaged_config.iter().map(|(key, value)| format!("{key}={value}"));
        parts.push(format!("keeps what the manifest doesn't name: {}", kept.collect::<Vec<_>>().join(", ")));
    }
    if topic.spec.deletion_policy == DeletionPolicy::Delete {
        parts.push("is deleted with this Topic (deletionPolicy: Delete)".to_owned());
    }
    let message = format!("the topic was there before this Topic; it {}", parts.join("; it "));
    (!parts.is_empty()).then(|| Event { warning: false, reason: "Adopted".to_owned(), message })
}

// A topic that is there keeps what it has unless the spec says a number: more brokers alone move nothing.
fn replication_factor(topic: &Topic, spec: Option<&KafkaClusterSpec>, found: Option<&TopicView>) -> usize {
    let present = found.and_then(|t| t.partitions.iter().map(|p| p.target().len()).max());
    let brokers = spec.map_or(REPLICAS_DEFAULT, |spec| spec.replicas);
    let wanted = |replicas: i32| usize::try_from(replicas).unwrap_or_default();
    topic.spec.replicas.map(wanted).or(present).unwrap_or(wanted(REPLICAS_DEFAULT.min(brokers)))
}

fn too_many_partitions(topic: &Topic, found: &TopicView) -> Option<Readiness> {
    let (present, wanted) = (found.partitions.len(), partitions(topic, found.partitions.len()));
    let message = format!(
        "the topic has {present} partitions, and spec.partitions is {wanted}: partitions never decrease, so set spec.partitions to {present} or more"
    );
    (present > wanted).then(|| Readiness::stuck("PartitionsDiffer", message))
}

fn is_as_asked(topic: &Topic, found: &TopicView, factor: usize, config: &BTreeMap<String, String>) -> bool {
    let moves = found.partitions.iter().any(|p| p.target().len() != factor);
    let present = found.partitions.len();
    !moves && present == partitions(topic, present) && found.config == *config
}

// What the spec doesn't name is what there is, and one where there is nothing.
fn partitions(topic: &Topic, present: usize) -> usize {
    topic.spec.partitions.and_then(|n| usize::try_from(n).ok()).unwrap_or(present.max(1))
}

// Existing replicas stay where they are; new ones go where the fewest are.
fn assignments(topic: &Topic, view: &ClusterView, factor: usize) -> Result<Vec<Vec<BrokerId>>, String> {
    let found = view.topics.get(topic.topic_name());
    let wanted = partitions(topic, found.map_or(0, |found| found.partitions.len()));
    let all = view.brokers.iter().filter(|b| !b.draining).map(|b| (b.id, b.rack.clone()));
    let everywhere = view.topics.values().flat_map(|t| &t.partitions).map(|p| p.replicas.as_slice());
    let mut brokers = loads(all, everywhere);
    for broker in &mut brokers {
        broker.live = view.brokers.iter().any(|b| b.id == broker.id && !b.fenced);
    }
    let present = found.map(|t| t.partitions.as_slice()).unwrap_or_default();
    let mut all: Vec<Vec<BrokerId>> =
        present.iter().map(|p| resized(p, factor, &mut brokers)).collect::<Result<_, _>>()?;
    let missing = wanted.saturating_sub(all.len());
    let new = place(&brokers, &all, missing, factor, seed(topic.topic_name())).map_err(|e| e.to_string())?;
    all.extend(new);
    Ok(all)
}

// The partition's replicas, with more at the end or fewer: those that are offline go first, then the last.
fn resized(
    partition: &PartitionView,
    factor: usize,
    brokers: &mut [Broker],
) -> Result<Vec<BrokerId>, String> {
    let mut replicas = partition.target();
    while replicas.len() > factor {
        let offline = replicas.iter().rposition(|id| partition.offline.contains(id));
        replicas.remove(offline.unwrap_or(replicas.len() - 1));
    }
    while replicas.len() < factor {
        let more = substitute(brokers, &replicas, NOBODY).ok_or_else(|| {
            format!("{factor} replicas need as many brokers in service, and there are fewer just now")
        })?;
        brokers.iter_mut().filter(|b| b.id == more).for_each(|b| b.replicas += 1);
        replicas.push(more);
    }
    Ok(replicas)
}

// So that topics of one partition don't all begin on the same broker.
fn seed(name: &str) -> u64 {
    name.bytes()
        .fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3))
}

fn settled(found: &TopicView, replicas: usize) -> Readiness {
    let troubles = troubles(&counts(&found.partitions));
    if let Some(worst) = troubles.first() {
        let all: Vec<&str> = troubles.iter().map(|trouble| trouble.message.as_str()).collect();
        let message = all.join("; ");
        return if worst.heals {
            Readiness::working(worst.reason, message)
        } else {
            Readiness::stuck(worst.reason, message)
        };
    }
    let count = found.partitions.len();
    let (plural, kept) = (if count == 1 { "" } else { "s" }, if replicas == 1 { "" } else { "s" });
    Readiness::ready("AsAsked", format!("{count} partition{plural} with {replicas} replica{kept} each"))
}

fn show(found: &TopicView, status: &mut TopicStatus) {
    let counts = counts(&found.partitions);
    status.topic_id = Some(found.id.clone());
    status.partitions = Some(counts.total);
    let least = found.partitions.iter().map(|p| p.target().len()).min();
    status.replicas = least.and_then(|n| i32::try_from(n).ok());
    status.leaderless_partitions = Some(counts.offline);
    status.under_min_isr_partitions = Some(counts.under_min_isr);
    status.under_replicated_partitions = Some(counts.under_replicated);
    status.reassigning_partitions = Some(counts.reassigning);
    let written = found.config.get(ACK_DURABILITY).filter(|value| value.trim() == WRITTEN);
    status.ack_durability = written.map(|_| WRITTEN.to_owned());
    let shown = (0..).zip(&found.partitions).take(ASSIGNMENTS_SHOWN_MAX);
    let ids = |brokers: &[BrokerId]| brokers.iter().map(|id| id.0).collect();
    status.assignments = shown
        .map(|(partition, p)| PartitionStatus {
            partition,
            leader: p.leader.map(|id| id.0),
            replicas: ids(&p.replicas),
            isr: ids(&p.isr),
            elr: ids(&p.elr),
            offline: ids(&p.offline),
            adding: ids(&p.adding),
            removing: ids(&p.removing),
            unclean_election: p.unclean_election.clone(),
        })
        .collect();
}

fn forget(status: &mut TopicStatus) {
    // What was said stays; what was seen doesn't.
    *status = TopicStatus {
        observed_generation: status.observed_generation,
        conditions: std::mem::take(&mut status.conditions),
        topic_name: status.topic_name.take(),
        ..Default::default()
    };
}
