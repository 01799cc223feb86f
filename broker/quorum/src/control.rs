//! The control API: what operators and tools may ask of any broker.

use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use futures::{Stream, StreamExt};
use ottla_control::{cluster_view, proto, proto::control_server::Control};
use ottla_core::metadata::{
    ApplyTopic, Command, DeleteTopics, DrainBroker, ElectLeaders, Election, ElectionError, ElectionErrorKind,
    ElectionKind, MetadataImage, Rejection, ReplicaAssignment, Reply, SubmitAssignments, TopicError,
    TopicErrorKind, TopicSelector,
};
use ottla_types::{BrokerId, MetadataVersion, PartitionIndex, TopicId};
use tokio_stream::wrappers::{IntervalStream, WatchStream};
use tonic::{Code, Request, Response, Status};

use crate::error::{ControlError, SubmitError};
use crate::node::Node;
use crate::voters::{VoterChange, VotersError};

/// How long a change may take.
const LIMIT: Duration = Duration::from_secs(10);

/// How long it may take to learn whether an answer is up to date.
const CONFIRM_LIMIT: Duration = Duration::from_secs(3);

/// How often those who watch are told of a trouble of the quorum.
const TROUBLE_INTERVAL: Duration = Duration::from_secs(2);

/// The shortest time between two views of a watch: changes that come closer together are seen as one.
const VIEW_PAUSE: Duration = Duration::from_millis(20);

/// What the server tells about itself over the control API.
pub trait BrokerControl: Send + Sync + 'static {
    /// Health and readiness; id and metadata version are filled in by the quorum.
    fn health(&self) -> proto::BrokerHealth;

    /// Sets the log's filter; answers with the one before.
    ///
    /// # Errors
    /// When the filter can't be read: the text says why.
    fn set_log_level(&self, filter: &str) -> Result<String, ControlError>;
}

/// The service `Control`.
pub struct ControlService {
    pub node: Arc<Node>,
    pub broker: Arc<dyn BrokerControl>,
}

type Answer<T> = Result<Response<T>, Status>;
type Views = Pin<Box<dyn Stream<Item = Result<proto::ClusterView, Status>> + Send>>;

impl ControlService {
    async fn submit(&self, command: Command) -> Result<Reply, Status> {
        self.node.submit(&command, LIMIT).await.map_err(|error| match error {
            SubmitError::Rejected(rejection) => rejected(&rejection),
            SubmitError::TimedOut(_) | SubmitError::NotRunning => Status::unavailable(error.to_string()),
        })
    }

    fn version(&self) -> u64 {
        self.node.image.borrow().version.0
    }
}

/// What a node shows of the cluster now.
fn view(node: &Node) -> proto::ClusterView {
    view_of(node, &node.image.borrow().clone())
}

fn view_of(node: &Node, image: &MetadataImage) -> proto::ClusterView {
    let server = node.server();
    let voters: Vec<BrokerId> =
        server.iter().flat_map(|server| server.membership_config.membership().voter_ids()).collect();
    proto::ClusterView {
        quorum_trouble: node.trouble().unwrap_or_default(),
        ..cluster_view(image, server.and_then(|server| server.current_leader), &voters)
    }
}

#[tonic::async_trait]
impl Control for ControlService {
    type WatchClusterStream = Views;

    async fn get_cluster(&self, request: Request<proto::GetClusterRequest>) -> Answer<proto::ClusterView> {
        self.node.running()?;
        if request.into_inner().confirmed {
            let confirmed = self.node.confirm(CONFIRM_LIMIT).await;
            confirmed.map_err(|error| Status::unavailable(error.to_string()))?;
        }
        Ok(Response::new(view(&self.node)))
    }

    async fn watch_cluster(&self, _: Request<proto::GetClusterRequest>) -> Answer<Views> {
        let running = self.node.running()?;
        let node = self.node.clone();
        // Entries without effect don't count as a change, elections do.
        let images = WatchStream::new(node.image.subscribe()).map(|_| ());
        let elections = WatchStream::new(running.raft.server_metrics()).map(|_| ());
        // Some of it comes of nothing happening.
        let watched = node.clone();
        let troubles = IntervalStream::new(tokio::time::interval(TROUBLE_INTERVAL))
            .scan(None, move |told, _| {
                let now = watched.trouble();
                let news = *told != now;
                *told = now;
                std::future::ready(Some(news))
            })
            .filter_map(|news| std::future::ready(news.then_some(())));
        let mut stopping = node.stopping.subscribe();
        let stopped = async move {
            let _ = stopping.wait_for(|stopping| *stopping).await;
        };
        let mut last = None;
        let views = futures::stream::select(futures::stream::select(images, elections), troubles)
            .then(|()| tokio::time::sleep(VIEW_PAUSE))
            .filter_map(move |()| {
                // One image for both: a change between two looks would count as told and never be.
                let image = node.image.borrow().clone();
                let now = view_of(&node, &image);
                let told =
                    (image.changed, now.active_controller, now.voters.clone(), now.quorum_trouble.clone());
                let new = last.as_ref() != Some(&told);
                last = Some(told);
                std::future::ready(new.then_some(Ok(now)))
            })
            .take_until(stopped);
        Ok(Response::new(Box::pin(views)))
    }

    async fn apply_topic(
        &self,
        request: Request<proto::ApplyTopicRequest>,
    ) -> Answer<proto::ApplyTopicResponse> {
        let request = request.into_inner();
        let mut new_id = [0; 16];
        getrandom::fill(&mut new_id).map_err(|error| Status::internal(error.to_string()))?;
        let command = Command::ApplyTopic(ApplyTopic {
            name: request.name,
            new_id: TopicId(new_id),
            config: request.config.into_iter().collect(),
            assignments: request.assignments.iter().map(replicas).collect(),
            version: Some(MetadataVersion(request.metadata_version)).filter(|version| version.0 > 0),
            expected_id: expected_id(&request.expected_id)?,
            validate_only: request.validate_only,
        });
        match self.submit(command).await? {
            Reply::TopicApplied(applied) => Ok(Response::new(proto::ApplyTopicResponse {
                id: if applied.id.is_zero() { String::new() } else { applied.id.to_string() },
                metadata_version: self.version(),
                changed: applied.changed,
            })),
            other => Err(unexpected(&other)),
        }
    }

    async fn delete_topic(
        &self,
        request: Request<proto::DeleteTopicRequest>,
    ) -> Answer<proto::DeleteTopicResponse> {
        let request = request.into_inner();
        let expected = expected_id(&request.expected_id)?;
        let current = self.node.image.borrow().topic(&request.name).map(|topic| topic.id);
        // By id if one is expected, so that a topic that was created again in this moment stays.
        let selector = match expected {
            Some(expected) if current != Some(expected) => {
                let name = request.name;
                return Err(rejected(&Rejection::AnotherTopic { name, expected, current }));
            }
            Some(expected) => TopicSelector::Id(expected),
            None => TopicSelector::Name(request.name),
        };
        match self.submit(Command::DeleteTopics(DeleteTopics { topics: vec![selector] })).await? {
            Reply::TopicsDeleted(results) => match results.first() {
                Some(Ok(_)) => {
                    Ok(Response::new(proto::DeleteTopicResponse { metadata_version: self.version() }))
                }
                Some(Err(error)) => Err(refused(error)),
                None => Err(Status::internal("no outcome")),
            },
            other => Err(unexpected(&other)),
        }
    }

    async fn submit_assignments(
        &self,
        request: Request<proto::SubmitAssignmentsRequest>,
    ) -> Answer<proto::SubmitAssignmentsResponse> {
        let request = request.into_inner();
        let partitions = request.partitions.into_iter().map(|partition| ReplicaAssignment {
            topic: partition.topic,
            partition: PartitionIndex(partition.partition),
            replicas: partition.assignment.as_ref().map(replicas).unwrap_or_default(),
        });
        let version = MetadataVersion(request.metadata_version);
        let command = SubmitAssignments { version, partitions: partitions.collect() };
        self.submit(Command::SubmitAssignments(command)).await?;
        Ok(Response::new(proto::SubmitAssignmentsResponse { metadata_version: self.version() }))
    }

    async fn drain_broker(
        &self,
        request: Request<proto::DrainBrokerRequest>,
    ) -> Answer<proto::DrainBrokerResponse> {
        let proto::DrainBrokerRequest { id, draining } = request.into_inner();
        self.submit(Command::DrainBroker(DrainBroker { id: BrokerId(id), draining })).await?;
        Ok(Response::new(proto::DrainBrokerResponse { metadata_version: self.version() }))
    }

    async fn elect_unclean(
        &self,
        request: Request<proto::ElectUncleanRequest>,
    ) -> Answer<proto::ElectUncleanResponse> {
        let proto::ElectUncleanRequest { topic: name, partition, replica } = request.into_inner();
        let topic = self.node.image.borrow().topic(&name).map(|topic| topic.id);
        let topic = topic.ok_or_else(|| Status::not_found(format!("there is no topic {name:?}")))?;
        let election = Election {
            topic,
            partition: PartitionIndex(partition),
            kind: ElectionKind::Unclean { replica: BrokerId(replica) },
        };
        match self.submit(Command::ElectLeaders(ElectLeaders { elections: vec![election] })).await? {
            Reply::LeadersElected(mut results) => match results.pop() {
                Some(Ok(elected)) => {
                    let may_lose = elected.may_lose.unwrap_or_default();
                    tracing::warn!(topic = %name, partition, replica, may_lose, "unclean leader election");
                    let leader_epoch = elected.leader_epoch.0;
                    Ok(Response::new(proto::ElectUncleanResponse { leader_epoch, may_lose }))
                }
                Some(Err(error)) => Err(not_elected(&error)),
                None => Err(Status::internal("no outcome")),
            },
            other => Err(unexpected(&other)),
        }
    }

    async fn describe_quorum(&self, _: Request<proto::DescribeQuorumRequest>) -> Answer<proto::QuorumView> {
        let described = self.node.describe(LIMIT).await;
        Ok(Response::new(described.map_err(|error| Status::unavailable(error.to_string()))?.into()))
    }

    async fn change_voters(
        &self,
        request: Request<proto::ChangeVotersRequest>,
    ) -> Answer<proto::ChangeVotersResponse> {
        let voters = request.into_inner().voters.into_iter().map(BrokerId).collect();
        match self.node.change_voters(VoterChange::Set(voters), LIMIT).await {
            // The wish is committed; who watches the cluster sees the rest.
            Ok(()) | Err(VotersError::NotYet) => Ok(Response::new(proto::ChangeVotersResponse {})),
            Err(error) => Err(voters_refused(&error)),
        }
    }

    async fn get_broker(&self, _: Request<proto::GetBrokerRequest>) -> Answer<proto::BrokerHealth> {
        // It looks at all partitions, each of which may be busy with records.
        let broker = Arc::clone(&self.broker);
        let health =
            self.node.tasks.spawn_blocking("look at the broker's health", move || broker.health()).await;
        let health = health.map_err(|error| Status::internal(error.to_string()))?;
        let id = self.node.config.node_id.0;
        Ok(Response::new(proto::BrokerHealth { id, metadata_version: self.version(), ..health }))
    }

    async fn set_log_level(
        &self,
        request: Request<proto::SetLogLevelRequest>,
    ) -> Answer<proto::SetLogLevelResponse> {
        let previous = self.broker.set_log_level(&request.into_inner().filter);
        let previous = previous.map_err(|error| Status::invalid_argument(error.to_string()))?;
        Ok(Response::new(proto::SetLogLevelResponse { previous }))
    }
}

fn replicas(assignment: &proto::Assignment) -> Vec<BrokerId> {
    assignment.replicas.iter().copied().map(BrokerId).collect()
}

fn expected_id(text: &str) -> Result<Option<TopicId>, Status> {
    if text.is_empty() {
        return Ok(None);
    }
    text.parse().map(Some).map_err(|error: ottla_types::IdError| Status::invalid_argument(error.to_string()))
}

fn unexpected(reply: &Reply) -> Status {
    Status::internal(format!("the active controller answered {reply:?}"))
}

/// The gRPC status of a command that was refused.
fn rejected(rejection: &Rejection) -> Status {
    let code = match rejection {
        Rejection::Topic(error) => return refused(error),
        Rejection::StaleMetadataVersion { .. }
        | Rejection::AnotherTopic { .. }
        | Rejection::NotNow { .. }
        | Rejection::StaleBrokerEpoch { .. } => Code::FailedPrecondition,
        Rejection::DuplicateBrokerRegistration { .. } => Code::AlreadyExists,
        Rejection::BrokerNotRegistered { .. } => Code::NotFound,
        Rejection::Invalid { .. } => Code::InvalidArgument,
    };
    Status::new(code, rejection.to_string())
}

fn not_elected(error: &ElectionError) -> Status {
    let code = match error.kind {
        ElectionErrorKind::UnknownTopicOrPartition => Code::NotFound,
        ElectionErrorKind::InvalidRequest => Code::InvalidArgument,
        ElectionErrorKind::ElectionNotNeeded
        | ElectionErrorKind::PreferredLeaderNotAvailable
        | ElectionErrorKind::EligibleLeadersNotAvailable => Code::FailedPrecondition,
    };
    Status::new(code, error.message.clone())
}

fn voters_refused(error: &VotersError) -> Status {
    let code = match error {
        VotersError::Unknown(_) => Code::NotFound,
        VotersError::AlreadyVoter(_) | VotersError::NotVoter(_) | VotersError::AnotherDirectory { .. } => {
            Code::FailedPrecondition
        }
        VotersError::Count(_) => Code::InvalidArgument,
        VotersError::NotYet | VotersError::Unavailable(_) => Code::Unavailable,
    };
    Status::new(code, error.to_string())
}

fn refused(error: &TopicError) -> Status {
    let code = match error.kind {
        TopicErrorKind::TopicAlreadyExists => Code::AlreadyExists,
        TopicErrorKind::UnknownTopicOrPartition | TopicErrorKind::UnknownTopicId => Code::NotFound,
        TopicErrorKind::PolicyViolation => Code::ResourceExhausted,
        TopicErrorKind::NoReassignmentInProgress => Code::FailedPrecondition,
        TopicErrorKind::InvalidTopic
        | TopicErrorKind::InvalidPartitions
        | TopicErrorKind::InvalidReplicationFactor
        | TopicErrorKind::InvalidReplicaAssignment
        | TopicErrorKind::InvalidConfig
        | TopicErrorKind::InvalidRequest => Code::InvalidArgument,
    };
    Status::new(code, error.message.clone())
}
