//! The quorum as its active controller sees it: who votes, who learns, how far each of them is.

use std::time::Duration;

use openraft::LogIdOptionExt;
use ottla_control::proto;
use ottla_types::{BrokerId, DirectoryId};
use tonic::Status;

use crate::contacts::Moment;
use crate::controller::Unavailable;
use crate::error::SubmitError;
use crate::node::{Node, unavailable};
use crate::raft_types::RaftMetrics;

/// The quorum, as its active controller sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct QuorumDescription {
    /// The active controller.
    pub leader: BrokerId,
    /// Its term: Kafka's leader epoch.
    pub term: u64,
    /// One past the last entry that is committed.
    pub high_watermark: i64,
    /// Who votes, by id.
    pub voters: Vec<QuorumReplica>,
    /// Who learns, by id.
    pub observers: Vec<QuorumReplica>,
}

/// A replica of the metadata log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct QuorumReplica {
    /// The node.
    pub id: BrokerId,
    /// Its control listener, `host:port`.
    pub address: String,
    /// Its disk.
    pub directory_id: DirectoryId,
    /// One past its last entry; −1: not known.
    pub log_end_offset: i64,
    /// When it last answered, in ms since 1970; −1: not known.
    pub last_fetch_ms: i64,
    /// When it last had everything that was committed, in ms since 1970; −1: not known.
    pub last_caught_up_ms: i64,
    /// It is to vote: that may still be under way, or the other way round.
    pub wanted: bool,
}

impl Node {
    /// The quorum as this node sees it, if it is the active controller and a majority says so.
    pub async fn describe_here(&self) -> Result<QuorumDescription, Status> {
        self.confirmed_here().await?;
        let metrics = self.running()?.raft.metrics().borrow().clone();
        if metrics.current_leader != Some(self.config.node_id) {
            return Err(unavailable(&Unavailable::NotActive(metrics.current_leader)));
        }
        let membership = metrics.membership_config.membership();
        // While the voters change, who is in only one of the two sets doesn't count as one.
        let configs = membership.get_joint_config();
        let votes = |id: &BrokerId| configs.iter().all(|config| config.contains(id));
        let replicas = membership.nodes().map(|(id, _)| self.replica(&metrics, *id));
        let (voters, observers) = replicas.partition(|replica: &QuorumReplica| votes(&replica.id));
        Ok(QuorumDescription {
            leader: self.config.node_id,
            term: metrics.current_term,
            high_watermark: offset(metrics.last_applied.next_index()),
            voters,
            observers,
        })
    }

    fn replica(&self, metrics: &RaftMetrics, id: BrokerId) -> QuorumReplica {
        let member = metrics.membership_config.membership().get_node(&id).cloned().unwrap_or_default();
        let me = id == self.config.node_id;
        let matched = metrics.replication.as_ref().and_then(|replication| *replication.get(&id)?);
        let end = if me { metrics.last_log_index } else { matched.map(|log_id| log_id.index) };
        let now = me.then(Moment::now);
        let contact = self.contacts.of(id, member.identity);
        let answered = now.or(contact.map(|contact| contact.answered));
        let caught_up = now.or(contact.and_then(|contact| contact.caught_up));
        QuorumReplica {
            id,
            address: member.addr,
            directory_id: member.identity.disk,
            log_end_offset: end.map_or(-1, |index| offset(index + 1)),
            last_fetch_ms: answered.map_or(-1, |moment| moment.unix_ms()),
            last_caught_up_ms: caught_up.map_or(-1, |moment| moment.unix_ms()),
            wanted: member.wanted,
        }
    }

    /// The quorum as the active controller sees it, wherever that is.
    pub async fn describe(&self, limit: Duration) -> Result<QuorumDescription, SubmitError> {
        self.at_the_active_controller(limit, |address| async move {
            match address {
                None => self.describe_here().await,
                Some(address) => {
                    let (cluster_id, quorum) = (self.known_cluster_id(), self.quorum());
                    let request = proto::DescribeRequest { cluster_id, quorum };
                    Ok(self.peers.client(&address)?.describe(request).await?.into_inner().into())
                }
            }
        })
        .await
    }
}

fn offset(index: u64) -> i64 {
    i64::try_from(index).unwrap_or(i64::MAX)
}

impl From<proto::QuorumView> for QuorumDescription {
    fn from(view: proto::QuorumView) -> Self {
        let replicas = |list: Vec<proto::QuorumReplica>| list.into_iter().map(QuorumReplica::from).collect();
        Self {
            leader: BrokerId(view.leader),
            term: view.term,
            high_watermark: view.high_watermark,
            voters: replicas(view.voters),
            observers: replicas(view.observers),
        }
    }
}

impl From<QuorumDescription> for proto::QuorumView {
    fn from(quorum: QuorumDescription) -> Self {
        let replicas = |list: Vec<QuorumReplica>| list.into_iter().map(proto::QuorumReplica::from).collect();
        Self {
            leader: quorum.leader.0,
            term: quorum.term,
            high_watermark: quorum.high_watermark,
            voters: replicas(quorum.voters),
            observers: replicas(quorum.observers),
        }
    }
}

impl From<proto::QuorumReplica> for QuorumReplica {
    fn from(replica: proto::QuorumReplica) -> Self {
        Self {
            id: BrokerId(replica.id),
            address: replica.address,
            directory_id: replica.directory_id.parse().unwrap_or_default(),
            log_end_offset: replica.log_end_offset,
            last_fetch_ms: replica.last_fetch_ms,
            last_caught_up_ms: replica.last_caught_up_ms,
            wanted: replica.wanted,
        }
    }
}

impl From<QuorumReplica> for proto::QuorumReplica {
    fn from(replica: QuorumReplica) -> Self {
        Self {
            id: replica.id.0,
            address: replica.address,
            directory_id: replica.directory_id.to_string(),
            log_end_offset: replica.log_end_offset,
            last_fetch_ms: replica.last_fetch_ms,
            last_caught_up_ms: replica.last_caught_up_ms,
            wanted: replica.wanted,
        }
    }
}
