//! openraft's messages over tonic: one RPC, a kind, and JSON.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use openraft::error::Infallible;
use openraft::error::{InstallSnapshotError, NetworkError, RPCError, RaftError, RemoteError, Unreachable};
use openraft::network::{Backoff, RPCOption, RaftNetwork, RaftNetworkFactory};
use openraft::raft::{
    AppendEntriesRequest, AppendEntriesResponse, InstallSnapshotRequest, InstallSnapshotResponse,
    VoteRequest, VoteResponse,
};
use ottla_control::proto::RaftMessage;
use ottla_types::{BrokerId, ClusterId};
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::sync::watch;
use tonic::{Code, Status};

use crate::contacts::{Contacts, Moment};
use crate::node::{Node, Running};
use crate::peers::Peers;
use crate::raft_types::{Identity, Member, TypeConfig, Vote};

/// A canvass before an election; see `elections`.
pub const CANVASS: &str = "canvass";
/// The word to stand for election; see `handover`.
pub const STAND: &str = "stand";

const APPEND: &str = "append";
const VOTE: &str = "vote";
const SNAPSHOT: &str = "snapshot";

/// How long a node that can't be reached is left alone.
const UNREACHABLE_BACKOFF: Duration = Duration::from_millis(100);

/// Makes connections to the other nodes.
pub struct Network {
    /// The cluster that both sides must be of.
    pub cluster_id: ClusterId,
    /// Shared connections.
    pub peers: Arc<Peers>,
    /// Addresses from the configuration, which win over those in the log: a voter may have moved.
    pub configured: BTreeMap<BrokerId, String>,
    /// When each of them answered.
    pub contacts: Arc<Contacts>,
    /// In favour of whom this node stands down, if it does.
    pub stand_down: watch::Receiver<Option<Vote>>,
}

impl RaftNetworkFactory<TypeConfig> for Network {
    type Network = Connection;

    async fn new_client(&mut self, target: BrokerId, node: &Member) -> Connection {
        Connection {
            cluster_id: self.cluster_id,
            peers: self.peers.clone(),
            contacts: self.contacts.clone(),
            stand_down: self.stand_down.clone(),
            target,
            address: self.configured.get(&target).unwrap_or(&node.addr).clone(),
            addressee: node.identity,
        }
    }
}

/// The way to one node.
pub struct Connection {
    cluster_id: ClusterId,
    peers: Arc<Peers>,
    contacts: Arc<Contacts>,
    stand_down: watch::Receiver<Option<Vote>>,
    target: BrokerId,
    address: String,
    addressee: Identity,
}

type CallError<E> = RPCError<BrokerId, Member, RaftError<BrokerId, E>>;

impl Connection {
    async fn call<Reply, E>(&self, kind: &str, payload: Vec<u8>) -> Result<Reply, CallError<E>>
    where
        Reply: DeserializeOwned,
        E: std::error::Error + DeserializeOwned,
    {
        let message = RaftMessage {
            cluster_id: self.cluster_id.to_string(),
            kind: kind.to_owned(),
            payload,
            addressee: Some((&self.addressee).into()),
        };
        let failed = |status: Status| match status.code() {
            Code::Unavailable | Code::FailedPrecondition | Code::InvalidArgument => {
                RPCError::Unreachable(Unreachable::new(&status))
            }
            _ => RPCError::Network(NetworkError::new(&status)),
        };
        let mut client = self.peers.client(&self.address).map_err(failed)?;
        let reply = client.raft(message).await.map_err(failed)?.into_inner();
        let outcome: Result<Reply, RaftError<BrokerId, E>> = serde_json::from_slice(&reply.payload)
            .map_err(|error| RPCError::Network(NetworkError::new(&error)))?;
        outcome.map_err(|error| RPCError::RemoteError(RemoteError::new(self.target, error)))
    }
}

fn encode(value: &impl Serialize) -> Result<Vec<u8>, NetworkError> {
    serde_json::to_vec(value).map_err(|error| NetworkError::new(&error))
}

impl RaftNetwork<TypeConfig> for Connection {
    async fn append_entries(
        &mut self,
        rpc: AppendEntriesRequest<TypeConfig>,
        _option: RPCOption,
    ) -> Result<AppendEntriesResponse<BrokerId>, CallError<Infallible>> {
        if let Some(higher) = *self.stand_down.borrow()
            && higher > rpc.vote
        {
            return Ok(AppendEntriesResponse::HigherVote(higher));
        }
        let sent = Moment::now();
        let end = rpc.entries.last().map(|entry| entry.log_id).or(rpc.prev_log_id);
        let caught_up = end >= rpc.leader_commit;
        let answer: AppendEntriesResponse<BrokerId> = self.call(APPEND, encode(&rpc)?).await?;
        if answer.is_success() {
            self.contacts.answered(self.target, self.addressee, sent, caught_up);
        }
        Ok(answer)
    }

    async fn install_snapshot(
        &mut self,
        mut rpc: InstallSnapshotRequest<TypeConfig>,
        _option: RPCOption,
    ) -> Result<InstallSnapshotResponse<BrokerId>, CallError<InstallSnapshotError>> {
        // The bytes follow the rest: as JSON they would be a long list of numbers.
        let data = std::mem::take(&mut rpc.data);
        let head = encode(&rpc)?;
        let mut payload = Vec::with_capacity(4 + head.len() + data.len());
        payload.extend_from_slice(&u32::try_from(head.len()).expect("a head is small").to_be_bytes());
        payload.extend_from_slice(&head);
        payload.extend_from_slice(&data);
        self.call(SNAPSHOT, payload).await
    }

    async fn vote(
        &mut self,
        rpc: VoteRequest<BrokerId>,
        _option: RPCOption,
    ) -> Result<VoteResponse<BrokerId>, CallError<Infallible>> {
        self.call(VOTE, encode(&rpc)?).await
    }

    fn backoff(&self) -> Backoff {
        Backoff::new(std::iter::repeat(UNREACHABLE_BACKOFF))
    }
}

/// Answers a message of another node.
///
/// # Errors
/// `InvalidArgument` when it can't be read.
pub async fn answer(node: &Node, running: &Running, message: RaftMessage) -> Result<RaftMessage, Status> {
    let raft = &running.raft;
    let payload = match message.kind.as_str() {
        APPEND => {
            let answer = raft.append_entries(decode(&message.payload)?).await;
            if answer.as_ref().is_ok_and(|answer| !matches!(answer, AppendEntriesResponse::HigherVote(_))) {
                running.elections.hear();
            }
            reply(&answer)?
        }
        VOTE => {
            let answer = raft.vote(decode(&message.payload)?).await;
            if answer.as_ref().is_ok_and(|answer| answer.vote_granted) {
                running.elections.wait_for_election();
            }
            reply(&answer)?
        }
        SNAPSHOT => {
            let request = decode_snapshot(&message.payload)?;
            let vote = request.vote;
            let answer = raft.install_snapshot(request).await;
            if answer.as_ref().is_ok_and(|answer| answer.vote == vote) {
                running.elections.hear();
            }
            reply(&answer)?
        }
        CANVASS => reply(&node.canvassed(running, &decode(&message.payload)?).await)?,
        STAND => reply(&node.stand_as_asked(running, decode(&message.payload)?).await?)?,
        other => return Err(Status::invalid_argument(format!("unknown kind of message {other:?}"))),
    };
    Ok(RaftMessage { payload, ..message })
}

fn decode<T: DeserializeOwned>(payload: &[u8]) -> Result<T, Status> {
    serde_json::from_slice(payload).map_err(|error| Status::invalid_argument(error.to_string()))
}

fn decode_snapshot(payload: &[u8]) -> Result<InstallSnapshotRequest<TypeConfig>, Status> {
    let short = || Status::invalid_argument("a snapshot's message is too short");
    let (length, rest) = payload.split_first_chunk::<4>().ok_or_else(short)?;
    let length = usize::try_from(u32::from_be_bytes(*length)).map_err(|_| short())?;
    let (head, data) = rest.split_at_checked(length).ok_or_else(short)?;
    let mut request: InstallSnapshotRequest<TypeConfig> = decode(head)?;
    request.data = data.to_vec();
    Ok(request)
}

fn reply(outcome: &impl Serialize) -> Result<Vec<u8>, Status> {
    serde_json::to_vec(outcome).map_err(|error| Status::internal(error.to_string()))
}
