//! What other nodes may ask: consensus, commands, liveness, and who this is.

use std::sync::Arc;

use ottla_control::proto;
use ottla_control::proto::quorum_server::Quorum;
use ottla_core::metadata::Command;
use ottla_types::BrokerId;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Response, Status, Streaming};

use crate::fencing;
use crate::identity;
use crate::network;
use crate::node::{Node, unavailable};
use crate::raft_types::Member;
use crate::voters::VoterChange;

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
        let answer = network::answer(&self.node, running, message).await?;
        Ok(Response::new(answer))
    }

    async fn submit(&self, request: Request<proto::SubmitRequest>) -> Answer<proto::SubmitResponse> {
        let request = request.into_inner();
        self.node.check_cluster(&request.cluster_id)?;
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
        let identity = identity::from_proto(request.identity)
            .ok_or_else(|| Status::invalid_argument("a node that joins says which log it has"))?;
        let member = Member { addr: request.control_address, identity, wanted: request.voter };
        self.node.let_join(BrokerId(request.node_id), member).await?;
        Ok(Response::new(proto::JoinResponse {}))
    }

    async fn identify(&self, _: Request<proto::IdentifyRequest>) -> Answer<proto::IdentifyResponse> {
        Ok(Response::new(self.node.identify()))
    }

    async fn describe(&self, request: Request<proto::DescribeRequest>) -> Answer<proto::QuorumView> {
        self.node.check_cluster(&request.into_inner().cluster_id)?;
        Ok(Response::new(self.node.describe_here()?.into()))
    }

    async fn submit_voters(
        &self,
        request: Request<proto::SubmitVotersRequest>,
    ) -> Answer<proto::SubmitVotersResponse> {
        let request = request.into_inner();
        self.node.check_cluster(&request.cluster_id)?;
        let change: VoterChange = serde_json::from_slice(&request.change)
            .map_err(|error| Status::invalid_argument(format!("the change can't be read: {error}")))?;
        let outcome = self.node.submit_voters(&change).await?;
        let outcome = serde_json::to_vec(&outcome).map_err(|error| Status::internal(error.to_string()))?;
        Ok(Response::new(proto::SubmitVotersResponse { outcome }))
    }
}
