//! Topic: plan, ask the cluster, plan again with what it said.

use std::sync::Arc;
use std::time::Duration;

use kube::runtime::controller::Action;
use kube::runtime::reflector::ObjectRef;
use kube::{Resource, ResourceExt};
use ottla_api::{KafkaCluster, KafkaClusterSpec, Topic};
use ottla_control::proto::{ApplyTopicRequest, Assignment, DeleteTopicRequest};
use ottla_plan::{
    ClusterState, TOPIC_FINALIZER, TopicAction, TopicObserved, TopicPlan, elder_of, plan_topic,
};
use tokio::sync::watch;
use tokio::time::timeout;
use tonic::{Code, Status};

use crate::apply::{publish, set_finalizer, write_status};
use crate::connection::{CALL_TIMEOUT, Client, Known, ask_by};
use crate::context::{Context, now};
use crate::error::ReconcileError;

/// How often a plan is made anew because the cluster changed meanwhile.
const ATTEMPTS_MAX: usize = 5;
/// How long the view of the cluster may lag behind an answer.
const VIEW_PATIENCE: Duration = Duration::from_secs(5);
/// When to ask again what was refused: the brokers may have changed their mind.
const REFUSED_AGAIN: Duration = Duration::from_secs(300);
/// When to ask again what found nobody to answer.
const UNREACHABLE_AGAIN: Duration = Duration::from_secs(2);

/// Brings one Topic to what it asks.
///
/// # Errors
/// When the API server refuses something or doesn't answer; it is to be tried again.
pub async fn reconcile_topic(topic: Arc<Topic>, context: Arc<Context>) -> Result<Action, ReconcileError> {
    let uid = topic.uid().unwrap_or_default();
    let mut topic = (*topic).clone();
    if let Some(newer) = context.newer_status(&uid, topic.meta().resource_version.as_deref()) {
        topic.status = Some(newer);
    }
    let others = context.stores.topics.state();
    let elder = elder_of(&topic, others.iter().map(|t| &**t)).map(|elder| elder.name_any());
    // One that can't be read is as much an elder, but for a Topic that has had the topic in its care.
    let has_it = topic.status.as_ref().is_some_and(|status| status.topic_id.is_some());
    let elder = elder.or_else(|| if has_it { None } else { context.stores.unreads.elder_of(&topic) });
    let cluster = cluster_of(&topic, &context);
    let namespace = topic.namespace().unwrap_or_default();
    let unread = context.stores.unreads.why("KafkaCluster", &namespace, &topic.spec.cluster_ref.name);
    let unread = unread.map(|why| format!("the KafkaCluster cannot be read: {why}"));
    let known = cluster.as_ref().map(|cluster| {
        let key = ObjectRef::from_obj(&**cluster);
        context.connections.follow(&key, cluster.uid().as_deref(), (context.resolver)(cluster))
    });
    if known.as_ref().is_some_and(|known| is_too_early(&topic, &known.borrow())) {
        // What it says of itself may still be so. The first answer brings it here again, or the lack of one.
        return Ok(Action::await_change());
    }
    let mut attempt = Attempt {
        context: &context,
        topic,
        elder: elder.as_deref(),
        spec: cluster.as_ref().map(|cluster| &cluster.spec),
        known: known.as_ref(),
        unread: unread.as_deref(),
    };
    let (plan, next) = attempt.run().await?;
    finish(&context, &attempt.topic, &plan).await?;
    context.succeeded(&uid);
    Ok(match next {
        Next::Await => Action::await_change(),
        Next::After(pause) => Action::requeue(pause),
    })
}

// The operator has just started, or the cluster: nobody had the time to answer.
fn is_too_early(topic: &Topic, known: &Known) -> bool {
    let has_spoken = topic.status.as_ref().is_some_and(|s| !s.conditions.is_empty());
    known.view.is_none() && !known.silent && has_spoken
}

fn cluster_of(topic: &Topic, context: &Context) -> Option<Arc<KafkaCluster>> {
    let namespace = topic.meta().namespace.as_deref()?;
    let cluster =
        context.stores.clusters.get(&ObjectRef::new(&topic.spec.cluster_ref.name).within(namespace))?;
    cluster.meta().deletion_timestamp.is_none().then_some(cluster)
}

async fn finish(context: &Context, topic: &Topic, plan: &TopicPlan) -> Result<(), ReconcileError> {
    let deleted = topic.meta().deletion_timestamp.is_some();
    let holds = topic.finalizers().iter().any(|f| f == TOPIC_FINALIZER);
    // A Topic that is about to vanish needs no status.
    let stays = !deleted || plan.finalizer || topic.finalizers().len() > usize::from(holds);
    if stays && topic.status.as_ref() != Some(&plan.status) {
        write_status(context, topic, "Topic", &plan.status).await?;
    }
    publish(context, topic, &plan.events).await;
    if deleted && holds && !plan.finalizer {
        set_finalizer(context, topic, TOPIC_FINALIZER, false).await?;
        context.forget(&topic.uid().unwrap_or_default());
    }
    Ok(())
}

/// One look at a Topic.
struct Attempt<'a> {
    context: &'a Context,
    /// With the status that was written last.
    topic: Topic,
    /// The name of the Topic that came first.
    elder: Option<&'a str>,
    spec: Option<&'a KafkaClusterSpec>,
    known: Option<&'a watch::Receiver<Known>>,
    /// Why the cluster can't be decoded, if it is there and can't be.
    unread: Option<&'a str>,
}

impl Attempt<'_> {
    /// Plans and acts until nothing more is to be asked, or nothing more can be.
    async fn run(&mut self) -> Result<(TopicPlan, Next), ReconcileError> {
        let mut plan = self.plan(None);
        let holds = self.topic.finalizers().iter().any(|f| f == TOPIC_FINALIZER);
        let deleted = self.topic.meta().deletion_timestamp.is_some();
        if !deleted && plan.finalizer != holds {
            // Before the topic is there: else it could outlive a Topic that is deleted at once.
            set_finalizer(self.context, &self.topic, TOPIC_FINALIZER, plan.finalizer).await?;
        }
        if plan.is_gone && holds && !self.is_gone().await {
            return Ok((
                self.unreachable("no broker confirms that the topic is gone"),
                Next::After(UNREACHABLE_AGAIN),
            ));
        }
        if plan.action.is_none() {
            return Ok((plan, Next::Await));
        }
        let turn = self.known.map(|known| known.borrow().turn.clone()).unwrap_or_default();
        let _turn = turn.lock().await;
        for _ in 0..ATTEMPTS_MAX {
            plan = self.plan(None);
            let Some(action) = plan.action.take() else { return Ok((plan, Next::Await)) };
            let uid = self.topic.uid().unwrap_or_default();
            if let Some((message, left)) = self.context.refusal(&uid, &action) {
                return Ok((self.plan(Some(&message)), Next::After(left)));
            }
            let Some(client) = self.known.and_then(|known| known.borrow().client.clone()) else {
                return Ok((self.unreachable("no broker answers just now"), Next::After(UNREACHABLE_AGAIN)));
            };
            self.tell_first(&plan).await?;
            match perform(client, &action).await {
                Ok(done) => {
                    tracing::info!(topic = self.topic.name_any(), namespace = self.topic.namespace(), %action, "done");
                    self.seen(done.metadata_version).await;
                    // What was just made or changed is this Topic's: another one that is found there is not.
                    self.topic.status.get_or_insert_default().topic_id = done.topic_id;
                }
                Err(status) => match self.verdict(&status, &action).await {
                    CallFailure::Again => {}
                    CallFailure::Unreachable => {
                        return Ok((self.unreachable(status.message()), Next::After(UNREACHABLE_AGAIN)));
                    }
                    CallFailure::Refused => {
                        self.context.refused(&uid, action, status.message(), REFUSED_AGAIN);
                        return Ok((self.plan(Some(status.message())), Next::After(REFUSED_AGAIN)));
                    }
                },
            }
        }
        plan = self.plan(None);
        let next = if plan.action.take().is_some() { Next::After(UNREACHABLE_AGAIN) } else { Next::Await };
        Ok((plan, next))
    }

    /// Shows and records what is about to be done, before it is.
    async fn tell_first(&mut self, plan: &TopicPlan) -> Result<(), ReconcileError> {
        if !plan.is_told_first {
            return Ok(());
        }
        if self.topic.status.as_ref() != Some(&plan.status) {
            write_status(self.context, &self.topic, "Topic", &plan.status).await?;
        }
        publish(self.context, &self.topic, &plan.events).await;
        self.topic.status = Some(plan.status.clone());
        Ok(())
    }

    fn plan(&self, refusal: Option<&str>) -> TopicPlan {
        let known = self.known.map(|known| known.borrow().clone()).unwrap_or_default();
        let cluster = match (&self.known, &known.view) {
            (None, _) => self.unread.map_or(ClusterState::Absent, ClusterState::Unreachable),
            (Some(_), None) => {
                ClusterState::Unreachable(known.trouble.as_deref().unwrap_or("no broker answers yet"))
            }
            (Some(_), Some(view)) => ClusterState::Known(view),
        };
        self.plan_with(cluster, refusal)
    }

    fn plan_with(&self, cluster: ClusterState<'_>, refusal: Option<&str>) -> TopicPlan {
        let Self { topic, elder, spec, .. } = self;
        plan_topic(TopicObserved { topic, elder: *elder, spec: *spec, cluster, refusal }, now())
    }

    fn unreachable(&self, why: &str) -> TopicPlan {
        self.plan_with(ClusterState::Unreachable(why), None)
    }

    /// Whether the topic is gone by the brokers' own word of this moment: a view may lag behind its creation.
    async fn is_gone(&self) -> bool {
        let Some(mut client) = self.known.and_then(|known| known.borrow().client.clone()) else {
            return false;
        };
        let Some(view) = ask_by(&mut client).await else { return false };
        self.plan_with(ClusterState::Known(&view), None).is_gone
    }

    /// Waits until the view is at least as new as an answer.
    async fn seen(&self, version: u64) {
        let Some(mut known) = self.known.cloned() else { return };
        let reached = known.wait_for(|k| k.view.as_ref().is_some_and(|v| v.metadata_version >= version));
        if timeout(VIEW_PATIENCE, reached).await.is_err() {
            tracing::warn!(version, "the view of the cluster lags behind");
        }
    }

    async fn verdict(&self, status: &Status, action: &TopicAction) -> CallFailure {
        let version = match action {
            TopicAction::Apply { metadata_version, .. } => *metadata_version,
            TopicAction::Delete { .. } => 0,
        };
        match status.code() {
            Code::Unavailable | Code::DeadlineExceeded | Code::Cancelled | Code::Unknown => {
                CallFailure::Unreachable
            }
            // Either a rule, or the plan was made from an old view: a newer one tells.
            Code::FailedPrecondition | Code::Aborted | Code::AlreadyExists | Code::NotFound => {
                let Some(mut known) = self.known.cloned() else { return CallFailure::Refused };
                let newer = known.wait_for(|k| k.view.as_ref().is_some_and(|v| v.metadata_version > version));
                match timeout(Duration::from_secs(1), newer).await {
                    Ok(Ok(_)) => CallFailure::Again,
                    _ => CallFailure::Refused,
                }
            }
            _ => CallFailure::Refused,
        }
    }
}

/// When to look again.
enum Next {
    /// When something changes.
    Await,
    /// After this time at the latest.
    After(Duration),
}

enum CallFailure {
    Again,
    Unreachable,
    Refused,
}

/// What came of an action.
struct Done {
    /// The metadata version at which it is done.
    metadata_version: u64,
    /// The id of the topic, unless it is gone.
    topic_id: Option<String>,
}

/// Asks the cluster.
async fn perform(mut client: Client, action: &TopicAction) -> Result<Done, Status> {
    let late = |_| Status::deadline_exceeded("the brokers did not answer in time");
    match action {
        TopicAction::Apply { name, config, assignments, metadata_version, expected_id } => {
            let request = ApplyTopicRequest {
                name: name.clone(),
                config: config.clone().into_iter().collect(),
                assignments: assignments
                    .iter()
                    .map(|ids| Assignment {
                        replicas: ids.iter().map(|id: &ottla_types::BrokerId| id.0).collect(),
                    })
                    .collect(),
                metadata_version: *metadata_version,
                expected_id: expected_id.clone().unwrap_or_default(),
                validate_only: false,
            };
            let answer =
                timeout(CALL_TIMEOUT, client.apply_topic(request)).await.map_err(late)??.into_inner();
            Ok(Done { metadata_version: answer.metadata_version, topic_id: Some(answer.id) })
        }
        TopicAction::Delete { name, expected_id } => {
            let request = DeleteTopicRequest { name: name.clone(), expected_id: expected_id.clone() };
            let answer =
                timeout(CALL_TIMEOUT, client.delete_topic(request)).await.map_err(late)??.into_inner();
            Ok(Done { metadata_version: answer.metadata_version, topic_id: None })
        }
    }
}
