//! Connections to the other nodes' control listeners, one for each address, made when first used.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use ottla_control::proto;
use ottla_control::proto::quorum_client::QuorumClient;
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::runtime::Handle;
use tonic::transport::{Channel, Endpoint};
use tonic::{Code, Status};

use crate::raft_types::Identity;

/// The largest message between nodes, in bytes: an entry that moves all leaders of a large cluster takes 30
/// MB.
pub const MESSAGE_BYTES_MAX: usize = 64 << 20;

/// For how long a connection may take to come about.
const CONNECT_TIMEOUT: Duration = Duration::from_millis(500);

/// More addresses than any cluster has nodes: then old ones are forgotten.
const ADDRESSES_MAX: usize = 1_000;

/// Of which cluster and quorum the sender of a message is.
pub struct Sender {
    /// The cluster.
    pub cluster_id: String,
    /// The quorum that it follows, if it follows one.
    pub quorum: Option<proto::Lineage>,
}

/// Connections by address.
pub struct Peers {
    channels: Mutex<HashMap<String, Channel>>,
    /// Whose threads carry them: whoever uses a connection first, records may keep its own threads busy.
    runtime: Handle,
}

impl Peers {
    /// Without connections yet. They are carried by `runtime`.
    pub fn new(runtime: Handle) -> Self {
        Self { channels: Mutex::default(), runtime }
    }

    /// A client of the node at `address` (`host:port`). Connects when it is used.
    ///
    /// # Errors
    /// `InvalidArgument` when that is no address.
    pub fn client(&self, address: &str) -> Result<QuorumClient<Channel>, Status> {
        let mut channels = self.channels.lock().unwrap_or_else(PoisonError::into_inner);
        if channels.len() >= ADDRESSES_MAX && !channels.contains_key(address) {
            channels.clear();
        }
        let channel = match channels.get(address) {
            Some(channel) => channel.clone(),
            None => {
                let _carried_by = self.runtime.enter();
                let channel = connect_lazily(address)?;
                channels.insert(address.to_owned(), channel.clone());
                channel
            }
        };
        Ok(QuorumClient::new(channel)
            .max_decoding_message_size(MESSAGE_BYTES_MAX)
            .max_encoding_message_size(MESSAGE_BYTES_MAX))
    }

    /// Asks the node at `address` something of `kind`, in JSON, as it has the log `addressee`.
    ///
    /// # Errors
    /// When it can't be reached, has another log, or refuses.
    pub async fn ask<Reply: DeserializeOwned>(
        &self,
        address: &str,
        sender: Sender,
        addressee: Identity,
        kind: &str,
        question: &impl Serialize,
    ) -> Result<Reply, Status> {
        let wrong = |error: serde_json::Error| Status::internal(error.to_string());
        let message = proto::RaftMessage {
            cluster_id: sender.cluster_id,
            kind: kind.to_owned(),
            payload: serde_json::to_vec(question).map_err(wrong)?,
            addressee: Some((&addressee).into()),
            quorum: sender.quorum,
        };
        let answer = self.client(address)?.raft(message).await?.into_inner();
        serde_json::from_slice(&answer.payload).map_err(wrong)
    }

    /// Asks the node at `address` who it is, and says who asks.
    ///
    /// # Errors
    /// When it can't be reached or doesn't answer in `limit`.
    pub async fn identify(
        &self,
        address: &str,
        asker: proto::IdentifyRequest,
        limit: Duration,
    ) -> Result<proto::IdentifyResponse, Status> {
        let mut client = self.client(address)?;
        let answer = tokio::time::timeout(limit, client.identify(asker)).await;
        Ok(answer.map_err(|_| too_late(limit))??.into_inner())
    }
}

/// The status of a call that took longer than `limit`.
pub fn too_late(limit: Duration) -> Status {
    Status::new(Code::DeadlineExceeded, format!("no answer within {} ms", limit.as_millis()))
}

fn connect_lazily(address: &str) -> Result<Channel, Status> {
    let wrong = |_| Status::invalid_argument(format!("{address:?} is no address: use host:port"));
    let endpoint = Endpoint::from_shared(format!("http://{address}")).map_err(wrong)?;
    Ok(endpoint
        .connect_timeout(CONNECT_TIMEOUT)
        .tcp_nodelay(true)
        .http2_keep_alive_interval(Duration::from_secs(5))
        .keep_alive_timeout(Duration::from_secs(5))
        .connect_lazy())
}
