//! What other nodes may ask: consensus, commands, liveness, and who this is.

use std::sync::Arc;

use ottla_control::proto;
use ottla_control::proto::quorum_server::Quorum;
use ottla_core::metadata::Command;
use ottla_types::{BrokerEpoch, BrokerId};
use tonic::{Request, Response, Status};

use crate::network;
use crate::node::{Node, unavailable};

/// The service `Quorum`.
pub struct QuorumService {
    pub node: Arc<Node>,
}

type Answer<T> = Result<Response<T>, Status>;

#[tonic::async_trait]
impl Quorum for QuorumService {
    async fn raft(&self, request: Request<proto::RaftMessage>) -> Answer<proto::RaftMessage> {
        let message = request.into_inner();
        self.node.check_cluster(&message.cluster_id)?;
        let answer = network::answer(&self.node.running()?.raft, message).await?;
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

    async fn heartbeat(&self, request: Request<proto::HeartbeatRequest>) -> Answer<proto::HeartbeatResponse> {
        let request = request.into_inner();
        self.node.check_cluster(&request.cluster_id)?;
        let answer =
            self.node.heartbeat(BrokerId(request.broker_id), BrokerEpoch(request.broker_epoch)).await?;
        Ok(Response::new(answer))
    }

    async fn join(&self, request: Request<proto::JoinRequest>) -> Answer<proto::JoinResponse> {
        let request = request.into_inner();
        self.node.check_cluster(&request.cluster_id)?;
        self.node.let_join(BrokerId(request.node_id), request.control_address).await?;
        Ok(Response::new(proto::JoinResponse {}))
    }

    async fn identify(&self, _: Request<proto::IdentifyRequest>) -> Answer<proto::IdentifyResponse> {
        Ok(Response::new(self.node.identify()))
    }
}
