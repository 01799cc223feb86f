//! Brings topics to what their manifests ask for, by the same plan as on Kubernetes, and keeps all statuses.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use ottla_api::{READY, Topic, TopicStatus, find_condition};
use ottla_control::proto;
use ottla_control::proto::control_client::ControlClient;
use ottla_plan::{ClusterState, ClusterView, TopicAction, TopicObserved, TopicPlan, plan_topic};
use ottla_types::BrokerId;
use tokio::time::{sleep, timeout};
use tonic::transport::Channel;
use tonic::{Code, Status};

use crate::control::{CALL_TIMEOUT, connect};
use crate::event::{Events, LocalEvent};
use crate::shared::{Shared, now};
use crate::status::observe_cluster;

/// When to look again though nothing was heard, while something isn't as asked, and otherwise.
const RETRY: Duration = Duration::from_secs(1);
const REPEAT: Duration = Duration::from_secs(30);
/// How long a topic waits for brokers that have yet to join, so that it is spread over all.
const JOIN_PATIENCE: Duration = Duration::from_secs(15);
/// How long a refusal stands before the brokers are asked again.
const REFUSAL_STANDS: Duration = Duration::from_secs(30);
/// So many failures in a row are worth a word.
const FAILURES_TOLD_FROM: u32 = 3;

/// Looks after topics and statuses for as long as it runs.
pub(crate) async fn keep_status(shared: Arc<Shared>, events: Events) {
    let mut views = shared.view.clone();
    let mut keeper = TopicKeeper {
        shared: shared.clone(),
        events,
        client: None,
        ask_anew: false,
        asked: None,
        refusals: BTreeMap::new(),
        failures: BTreeMap::new(),
    };
    loop {
        views.borrow_and_update();
        let pause = if keeper.pass().await { REPEAT } else { RETRY };
        tokio::select! {
            () = shared.status_wake.notified() => {}
            changed = views.changed() => if changed.is_err() { return },
            () = sleep(pause) => {}
        }
    }
}

/// What the brokers said no to.
struct RefusedChange {
    generation: Option<i64>,
    message: String,
    at: Instant,
}

impl RefusedChange {
    /// Whether it is still the brokers' word on this generation of the Topic.
    fn stands(&self, generation: Option<i64>) -> bool {
        self.generation == generation && self.at.elapsed() < REFUSAL_STANDS
    }
}

struct TopicKeeper {
    shared: Arc<Shared>,
    events: Events,
    client: Option<ControlClient<Channel>>,
    /// Whether the watched view may be out of date.
    ask_anew: bool,
    /// The last view that was asked for.
    asked: Option<proto::ClusterView>,
    /// By resource name.
    refusals: BTreeMap<String, RefusedChange>,
    /// Failures in a row, by resource name.
    failures: BTreeMap<String, u32>,
}

impl TopicKeeper {
    /// Looks at everything once; tells whether all is as asked.
    async fn pass(&mut self) -> bool {
        let all_serve = observe_cluster(&self.shared);
        let view = self.view().await.map(plan_view);
        let topics = self.wanted();
        let mut settled = all_serve && self.shared.state().brokers_as_asked;
        for topic in topics {
            let plan = self.plan(&topic, view.as_ref(), all_serve);
            settled &=
                find_condition(&plan.status.conditions, READY).is_some_and(|ready| ready.status == "True");
            let name = topic.metadata.name.clone().unwrap_or_default();
            self.tell_of(&topic, &plan);
            let deleting = self.note(&name, plan.status);
            if let (Some(action), false) = (plan.action, deleting) {
                self.act(&name, topic.metadata.generation, action).await;
            }
        }
        if settled && let Some(since) = self.shared.state().changed_at.take() {
            self.tell(LocalEvent::UpToDate { after: since.elapsed() });
        }
        settled
    }

    /// Remembers a Topic's status, and on disk what is decided once; tells whether the Topic is being
    /// deleted.
    fn note(&self, name: &str, status: TopicStatus) -> bool {
        let mut state = self.shared.state();
        if let Err(error) = state.resources.keep_record(name, &status) {
            let topic = status.topic_name.clone().unwrap_or_default();
            self.tell(LocalEvent::TopicFailed { topic, why: error.to_string() });
        }
        state.topic_status.insert(name.to_owned(), status);
        state.deleting.contains(name)
    }

    /// Tells of a topic that was there before its Topic, once for each thing that there is to say.
    fn tell_of(&self, topic: &Topic, plan: &TopicPlan) {
        for event in plan.events.iter().filter(|event| event.reason.starts_with("Adopt")) {
            let topic = topic.topic_name().to_owned();
            self.tell(LocalEvent::TopicAdopted {
                topic,
                warning: event.warning,
                message: event.message.clone(),
            });
        }
    }

    /// The newest view: the watched one, or one that was asked for after a change was refused as out of date.
    async fn view(&mut self) -> Option<proto::ClusterView> {
        let watched = self.shared.view();
        if std::mem::take(&mut self.ask_anew)
            && let Some(client) = &mut self.client
            && let Ok(Ok(view)) =
                timeout(CALL_TIMEOUT, client.get_cluster(proto::GetClusterRequest { confirmed: true })).await
        {
            self.asked = Some(view.into_inner());
        }
        let version = watched.as_ref().map(|watched| watched.metadata_version);
        self.asked.as_ref().filter(|asked| Some(asked.metadata_version) > version).cloned().or(watched)
    }

    /// The Topics with their statuses, but for those that are being deleted.
    fn wanted(&self) -> Vec<Topic> {
        let mut state = self.shared.state();
        let mut topics = state.resources.topics();
        state
            .topic_status
            .retain(|name, _| topics.iter().any(|topic| topic.metadata.name.as_ref() == Some(name)));
        for topic in &mut topics {
            let seen = topic.metadata.name.as_ref().and_then(|name| state.topic_status.get(name).cloned());
            topic.status = seen.or(topic.status.take());
        }
        topics
            .retain(|topic| !topic.metadata.name.as_ref().is_some_and(|name| state.deleting.contains(name)));
        topics
    }

    fn plan(&self, topic: &Topic, view: Option<&ClusterView>, all_serve: bool) -> TopicPlan {
        let waiting = self.shared.state().changed_at.is_some_and(|since| since.elapsed() < JOIN_PATIENCE);
        let cluster = match view {
            None => ClusterState::Unreachable("no broker answers yet"),
            Some(_) if !all_serve && waiting => ClusterState::Unreachable("some brokers have yet to join"),
            Some(view) => ClusterState::Known(view),
        };
        let name = topic.metadata.name.as_deref().unwrap_or_default();
        let refusal = self.refusals.get(name).filter(|refusal| refusal.stands(topic.metadata.generation));
        let refusal = refusal.map(|refusal| refusal.message.as_str());
        let asked = self.shared.state().resources.cluster();
        let spec = asked.as_ref().map(|cluster| &cluster.spec);
        plan_topic(TopicObserved { topic, elder: None, spec, cluster, refusal }, now())
    }

    async fn act(&mut self, name: &str, generation: Option<i64>, action: TopicAction) {
        let TopicAction::Apply { name: topic, config, assignments, metadata_version, expected_id } = action
        else {
            return;
        };
        let partitions = assignments.len();
        let replicas = |replicas: Vec<BrokerId>| proto::Assignment {
            replicas: replicas.into_iter().map(|BrokerId(id)| id).collect(),
        };
        let request = proto::ApplyTopicRequest {
            name: topic.clone(),
            config: config.into_iter().collect(),
            assignments: assignments.into_iter().map(replicas).collect(),
            metadata_version,
            expected_id: expected_id.unwrap_or_default(),
            validate_only: false,
        };
        match self.apply(request).await {
            Ok(id) => {
                self.refusals.remove(name);
                self.failures.remove(name);
                // What was just made or changed is this Topic's: another one that is found there is not.
                let status = self.shared.state().topic_status.get(name).cloned().unwrap_or_default();
                self.note(name, TopicStatus { topic_id: Some(id), ..status });
                self.tell(LocalEvent::TopicApplied { topic, partitions });
            }
            Err(status) => self.note_failure(name, generation, topic, &status),
        }
    }

    /// Asks the brokers; gives the topic's id.
    async fn apply(&mut self, request: proto::ApplyTopicRequest) -> Result<String, Status> {
        if self.client.is_none() {
            let ports: Vec<u16> =
                self.shared.state().processes.keys().map(|id| self.shared.ports.control(*id)).collect();
            self.client = connect(&ports).await;
        }
        let Some(client) = &mut self.client else { return Err(Status::unavailable("no broker answers")) };
        let outcome = timeout(CALL_TIMEOUT, client.apply_topic(request)).await;
        let outcome = outcome.unwrap_or_else(|_| Err(Status::deadline_exceeded("the broker gave no answer")));
        if outcome.as_ref().is_err_and(|status| is_passing(status.code())) {
            self.client = None;
        }
        outcome.map(|answer| answer.into_inner().id)
    }

    fn note_failure(&mut self, name: &str, generation: Option<i64>, topic: String, status: &Status) {
        let count = self.failures.entry(name.to_owned()).or_default();
        *count += 1;
        self.ask_anew |= status.code() == Code::FailedPrecondition;
        // The metadata may just have moved on, or a controller may be being elected: the next pass sees.
        let passing = is_passing(status.code()) || status.code() == Code::FailedPrecondition;
        if passing && *count < FAILURES_TOLD_FROM {
            return;
        }
        let message = status.message().to_owned();
        let known = self
            .refusals
            .get(name)
            .is_some_and(|refusal| refusal.generation == generation && refusal.message == message);
        if !known {
            self.tell(LocalEvent::TopicFailed { topic, why: message.clone() });
        }
        if !is_passing(status.code()) {
            self.refusals.insert(name.to_owned(), RefusedChange { generation, message, at: Instant::now() });
            self.shared.status_wake.notify_one();
        }
    }

    fn tell(&self, event: LocalEvent) {
        // Nobody may be listening any more, which changes nothing here.
        let _ = self.events.send(event);
    }
}

/// Whether it is about reaching a controller, not about the topic.
fn is_passing(code: Code) -> bool {
    matches!(
        code,
        Code::Unavailable | Code::DeadlineExceeded | Code::Cancelled | Code::Unknown | Code::Aborted
    )
}

/// The control API's view in the plan's types.
pub(crate) fn plan_view(view: proto::ClusterView) -> ClusterView {
    let broker = |broker: proto::BrokerView| ottla_plan::BrokerView {
        id: BrokerId(broker.id),
        fenced: broker.fenced || broker.in_controlled_shutdown,
        draining: broker.draining,
        rack: Some(broker.rack).filter(|rack| !rack.is_empty()),
        directory_id: broker.directory_id,
    };
    let ids = |ids: Vec<i32>| ids.into_iter().map(BrokerId).collect();
    let partition = |partition: proto::PartitionView| ottla_plan::PartitionView {
        replicas: ids(partition.replicas),
        leader: partition.leader.map(BrokerId),
        isr: ids(partition.isr),
        elr: ids(partition.elr),
        offline: ids(partition.offline_replicas),
        adding: ids(partition.adding),
        removing: ids(partition.removing),
        min_insync_replicas: partition.min_insync_replicas.try_into().unwrap_or(usize::MAX),
        unclean_election: partition.unclean_election,
    };
    let topic = |topic: proto::TopicView| {
        let partitions = topic.partitions.into_iter().map(partition).collect();
        let config = topic.config.into_iter().collect();
        (topic.name, ottla_plan::TopicView { id: topic.id, config, partitions })
    };
    ClusterView {
        cluster_id: view.cluster_id,
        metadata_version: view.metadata_version,
        active_controller: view.active_controller.map(BrokerId),
        brokers: view.brokers.into_iter().map(broker).collect(),
        topics: view.topics.into_iter().map(topic).collect(),
        quorum_trouble: Some(view.quorum_trouble).filter(|trouble| !trouble.is_empty()),
    }
}
