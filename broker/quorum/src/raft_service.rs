//! Answers openraft's messages of other nodes: the other side of `network`.

use openraft::raft::{AppendEntriesRequest, AppendEntriesResponse, InstallSnapshotRequest};
use ottla_control::proto::RaftMessage;
use serde::Serialize;
use serde::de::DeserializeOwned;
use tonic::Status;

use crate::network::{APPEND, CANVASS, SNAPSHOT, STAND, VOTE};
use crate::node::{Node, Running};
use crate::raft_types::TypeConfig;

/// Answers a message of another node.
///
/// # Errors
/// `InvalidArgument` when it can't be read.
pub async fn answer(node: &Node, running: &Running, message: RaftMessage) -> Result<RaftMessage, Status> {
    let raft = &running.raft;
    let payload = match message.kind.as_str() {
        APPEND => {
            let request: AppendEntriesRequest<TypeConfig> = decode(&message.payload)?;
            // Taking many entries may last longer than a voter's patience.
            if raft.server_metrics().borrow().vote == request.vote {
                running.elections.hear();
            }
            let answer = raft.append_entries(request).await;
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
