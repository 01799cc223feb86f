//! openraft's messages over tonic: one RPC, a kind, and JSON.

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
use tokio_util::task::AbortOnDropHandle;
use tonic::{Code, Status};

use crate::addresses::Addresses;
use crate::contacts::{Contacts, Moment};
use crate::lineage::Memory;
use crate::peers::{Peers, too_late};
use crate::raft_types::{Identity, LogId, Member, TypeConfig, Vote};
use crate::tasks::Tasks;

/// A canvass before an election; see `campaign`.
pub const CANVASS: &str = "canvass";
/// The word to stand for election; see `handover`.
pub const STAND: &str = "stand";

/// Entries, or just that there is an active controller.
pub const APPEND: &str = "append";
/// A request for a vote.
pub const VOTE: &str = "vote";
/// A part of a snapshot.
pub const SNAPSHOT: &str = "snapshot";

/// How long entries may be under way before they are sent again.
const ENTRIES_LIMIT: Duration = Duration::from_secs(10);

/// How long a node that can't be reached is left alone.
const UNREACHABLE_BACKOFF: Duration = Duration::from_millis(100);

/// Makes connections to the other nodes.
pub struct Network {
    /// The cluster that both sides must be of.
    pub cluster_id: ClusterId,
    /// Shared connections.
    pub peers: Arc<Peers>,
    /// Where they are: a node may have moved since the log said so.
    pub addresses: Arc<Addresses>,
    /// When each of them answered.
    pub contacts: Arc<Contacts>,
    /// Which quorum this node follows.
    pub memory: Arc<Memory>,
    /// In favour of whom this node stands down, if it does.
    pub stand_down: watch::Receiver<Option<Vote>>,
    /// What runs beside callers.
    pub tasks: Tasks,
}

impl RaftNetworkFactory<TypeConfig> for Network {
    type Network = Connection;

    async fn new_client(&mut self, target: BrokerId, node: &Member) -> Connection {
        Connection {
            line: Line {
                cluster_id: self.cluster_id,
                peers: self.peers.clone(),
                target,
                address: self.addresses.of(target, &node.addr),
                addressee: node.identity,
                memory: self.memory.clone(),
            },
            contacts: self.contacts.clone(),
            stand_down: self.stand_down.clone(),
            tasks: self.tasks.clone(),
            under_way: None,
        }
    }
}

/// The way to one node.
pub struct Connection {
    line: Line,
    contacts: Arc<Contacts>,
    stand_down: watch::Receiver<Option<Vote>>,
    tasks: Tasks,
    under_way: Option<UnderWay>,
}

/// Whom to call, and where.
#[derive(Clone)]
struct Line {
    cluster_id: ClusterId,
    peers: Arc<Peers>,
    target: BrokerId,
    address: String,
    addressee: Identity,
    memory: Arc<Memory>,
}

type CallError<E> = RPCError<BrokerId, Member, RaftError<BrokerId, E>>;
type Appended = Result<AppendEntriesResponse<BrokerId>, CallError<Infallible>>;

/// Entries that are under way to a node.
///
/// openraft gives a message the time between two heartbeats, then sends it again. Entries can have megabytes,
/// and the network or the disk be slow: they would be sent again and again and never be taken. So they stay
/// under way, and to send them again is to wait for the answer.
struct UnderWay {
    vote: Vote,
    /// The entry before them.
    before: Option<LogId>,
    last: LogId,
    sent: Moment,
    answer: AbortOnDropHandle<Appended>,
}

impl UnderWay {
    /// Whether these are the first entries of a message, or all of them.
    fn begins(&self, message: &AppendEntriesRequest<TypeConfig>) -> bool {
        (self.vote, self.before) == (message.vote, message.prev_log_id)
            && message.entries.iter().any(|entry| entry.log_id == self.last)
    }
}

impl Connection {
    /// Has entries taken, the last of which is `last`. Those that are under way aren't sent again; then it
    /// may be only the first ones that were taken.
    async fn carry(&mut self, message: &AppendEntriesRequest<TypeConfig>, last: LogId) -> Appended {
        if !self.under_way.as_ref().is_some_and(|under_way| under_way.begins(message)) {
            let (line, payload) = (self.line.clone(), encode(message)?);
            let call = async move {
                match tokio::time::timeout(ENTRIES_LIMIT, line.call(APPEND, payload)).await {
                    Ok(answer) => answer,
                    Err(_) => Err(RPCError::Network(NetworkError::new(&too_late(ENTRIES_LIMIT)))),
                }
            };
            self.under_way = Some(UnderWay {
                vote: message.vote,
                before: message.prev_log_id,
                last,
                sent: Moment::now(),
                answer: AbortOnDropHandle::new(self.tasks.spawn("send entries", call)),
            });
        }
        let under_way = self.under_way.as_mut().expect("it just was, or was before");
        // openraft may give up here, and come back.
        let answer =
            (&mut under_way.answer).await.map_err(|error| RPCError::Network(NetworkError::new(&error)));
        let (taken, sent) = (under_way.last, under_way.sent);
        self.under_way = None;
        let answer = answer??;
        self.tell_contacts(&answer, sent, Some(taken) >= message.leader_commit);
        let is_part = taken != last && matches!(answer, AppendEntriesResponse::Success);
        Ok(if is_part { AppendEntriesResponse::PartialSuccess(Some(taken)) } else { answer })
    }

    fn tell_contacts(&self, answer: &AppendEntriesResponse<BrokerId>, sent: Moment, caught_up: bool) {
        if answer.is_success() {
            self.contacts.answered(self.line.target, self.line.addressee, sent, caught_up);
        }
    }
}

impl Line {
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
            quorum: self.memory.lineage().as_ref().map(Into::into),
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
        if let Some(last) = rpc.entries.last().map(|entry| entry.log_id) {
            return self.carry(&rpc, last).await;
        }
        let (sent, caught_up) = (Moment::now(), rpc.prev_log_id >= rpc.leader_commit);
        let answer = self.line.call(APPEND, encode(&rpc)?).await?;
        self.tell_contacts(&answer, sent, caught_up);
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
        self.line.call(SNAPSHOT, payload).await
    }

    async fn vote(
        &mut self,
        rpc: VoteRequest<BrokerId>,
        _option: RPCOption,
    ) -> Result<VoteResponse<BrokerId>, CallError<Infallible>> {
        self.line.call(VOTE, encode(&rpc)?).await
    }

    fn backoff(&self) -> Backoff {
        Backoff::new(std::iter::repeat(UNREACHABLE_BACKOFF))
    }
}
