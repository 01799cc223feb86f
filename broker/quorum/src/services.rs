//! What other nodes may ask: consensus, commands, liveness, and who this is.

use std::sync::Arc;

use ottla_control::proto;
use ottla_control::proto::quorum_server::Quorum;
use ottla_control::proto::recovery_server::Recovery;
use ottla_core::metadata::Command;
use ottla_types::BrokerId;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Response, Status, Streaming};

use crate::fencing;
use crate::identity;
use crate::lineage;
use crate::membership::is_for;
use crate::network;
use crate::node::{Node, unavailable};
use crate::raft_service;
use crate::raft_types::Member;
use crate::voters::VoterChange;

/// The service `Recovery`.
pub struct RecoveryService {
    pub node: Arc<Node>,
}

#[tonic::async_trait]
impl Recovery for RecoveryService {
    async fn describe_metadata(
        &self,
        _: Request<proto::DescribeMetadataRequest>,
    ) -> Answer<proto::MetadataCopy> {
        Ok(Response::new(self.node.copy()?))
    }

    async fn recover_quorum(
        &self,
        request: Request<proto::RecoverQuorumRequest>,
    ) -> Answer<proto::RecoverQuorumResponse> {
        let quorum_id = self.node.recover(request.get_ref()).await?.to_string();
        Ok(Response::new(proto::RecoverQuorumResponse { quorum_id }))
    }

    async fn follow_quorum(
        &self,
        request: Request<proto::FollowQuorumRequest>,
    ) -> Answer<proto::FollowQuorumResponse> {
        self.node.follow_as_told(request.get_ref()).await?;
        Ok(Response::new(proto::FollowQuorumResponse {}))
    }
}

/// The service `Quorum`.
pub struct QuorumService {
    pub node: Arc<Node>,
}

type Answer<T> = Result<Response<T>, Status>;

#[tonic::async_trait]
impl Quorum for QuorumService {
    type SessionStream = ReceiverStream<Result<proto::HeartbeatResponse, Status>>;

    async fn raft(&self, request: Request<proto::RaftMessage>) -> Answer<proto::RaftMessage> {
        let message = request.into_inner();
        self.node.check_cluster(&message.cluster_id)?;
        let running = self.node.running()?;
        let addressee = identity::from_proto(message.addressee.clone()).unwrap_or_default();
        if !running.identity.is(&addressee) {
            return Err(Status::failed_precondition(format!(
                "node {} does not have the log {addressee} any more, it has {}",
                self.node.config.node_id, running.identity
            )));
        }
        self.node.check_room(running)?;
        self.node.check_it_stays()?;
        match message.kind.as_str() {
            // Nobody follows a quorum by being asked.
            network::CANVASS | network::STAND => self.node.check_quorum(message.quorum.as_ref())?,
            _ => self.node.follow_quorum(message.quorum.as_ref()).await?,
        }
        let answer = raft_service::answer(&self.node, running, message).await?;
        Ok(Response::new(answer))
    }

    async fn submit(&self, request: Request<proto::SubmitRequest>) -> Answer<proto::SubmitResponse> {
        let request = request.into_inner();
        self.node.check_cluster(&request.cluster_id)?;
        self.node.check_quorum(request.quorum.as_ref())?;
        let command: Command = serde_json::from_slice(&request.command)
            .map_err(|error| Status::invalid_argument(format!("the command can't be read: {error}")))?;
        let decided = self.node.running()?.controller.decide(command).await;
        let (outcome, version) = decided.map_err(|reason| unavailable(&reason))?;
        let outcome = serde_json::to_vec(&outcome).map_err(|error| Status::internal(error.to_string()))?;
        Ok(Response::new(proto::SubmitResponse { outcome, metadata_version: version.0 }))
    }

    async fn session(
        &self,
        request: Request<Streaming<proto::HeartbeatRequest>>,
    ) -> Answer<Self::SessionStream> {
        self.node.running()?;
        let (answers, waiting) = mpsc::channel(1);
        let session = fencing::serve(self.node.clone(), request.into_inner(), answers);
        self.node.tasks.spawn("hear a broker", session);
        Ok(Response::new(ReceiverStream::new(waiting)))
    }

    async fn join(&self, request: Request<proto::JoinRequest>) -> Answer<proto::JoinResponse> {
        let request = request.into_inner();
        self.node.check_cluster(&request.cluster_id)?;
        if request.quorum.is_some() {
            self.node.check_quorum(request.quorum.as_ref())?;
        }
        let identity = identity::from_proto(request.identity)
            .ok_or_else(|| Status::invalid_argument("a node that joins says which log it has"))?;
        let member = Member {
            addr: request.control_address,
            identity,
            controller: request.voter,
            ..Member::default()
        };
        self.node.let_join(BrokerId(request.node_id), member).await?;
        Ok(Response::new(proto::JoinResponse {}))
    }

    async fn identify(&self, request: Request<proto::IdentifyRequest>) -> Answer<proto::IdentifyResponse> {
        let request = request.into_inner();
        if self.node.check_cluster(&request.cluster_id).is_ok()
            && let Some(theirs) = lineage::from_proto(request.quorum.as_ref())
        {
            self.node.memory.hear(&theirs, &format!("node {}", request.node_id));
            let is_for_us = is_for(self.node.memory.lineage().as_ref(), Some(&theirs));
            if is_for_us && !request.active_controller_address.is_empty() {
                self.node.told_leader.send_replace(Some(request.active_controller_address));
            }
        }
        Ok(Response::new(self.node.identify()))
    }

    async fn describe(&self, request: Request<proto::DescribeRequest>) -> Answer<proto::QuorumView> {
        let request = request.into_inner();
        self.node.check_cluster(&request.cluster_id)?;
        self.node.check_quorum(request.quorum.as_ref())?;
        Ok(Response::new(self.node.describe_here().await?.into()))
    }

    async fn barrier(&self, request: Request<proto::BarrierRequest>) -> Answer<proto::BarrierResponse> {
        let request = request.into_inner();
        self.node.check_cluster(&request.cluster_id)?;
        self.node.check_quorum(request.quorum.as_ref())?;
        let version = self.node.confirmed_here().await?;
        Ok(Response::new(proto::BarrierResponse { metadata_version: version.0 }))
    }

    async fn submit_voters(
        &self,
        request: Request<proto::SubmitVotersRequest>,
    ) -> Answer<proto::SubmitVotersResponse> {
        let request = request.into_inner();
        self.node.check_cluster(&request.cluster_id)?;
        self.node.check_quorum(request.quorum.as_ref())?;
        let change: VoterChange = serde_json::from_slice(&request.change)
            .map_err(|error| Status::invalid_argument(format!("the change can't be read: {error}")))?;
        let outcome = self.node.submit_voters(&change).await?;
        let outcome = serde_json::to_vec(&outcome).map_err(|error| Status::internal(error.to_string()))?;
        Ok(Response::new(proto::SubmitVotersResponse { outcome }))
    }
}
