//! What an administrator asks about the metadata quorum: who votes, and who shall.

use ottla_wire::apis;
use ottla_wire::messages::{
    AddRaftVoterRequest, DescribeQuorumPartition, DescribeQuorumRequest, DescribeQuorumTopic, QuorumReplica,
    RemoveRaftVoterRequest,
};

use crate::admin::{check, missing};
use crate::{Client, ClientError};

const METADATA_TOPIC: &str = "__cluster_metadata";

/// The metadata quorum as its leader sees it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct QuorumView {
    /// The leader's node id, -1 if unknown.
    pub leader_id: i32,
    /// Its epoch.
    pub leader_epoch: i32,
    /// Everything before this offset is committed.
    pub high_watermark: i64,
    /// Voters, then observers; by id.
    pub members: Vec<QuorumMember>,
}

/// A node that keeps the metadata.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct QuorumMember {
    /// Its node id.
    pub id: i32,
    /// Whether it votes.
    pub votes: bool,
    /// The id of its disk; all zeroes if unknown.
    pub directory_id: [u8; 16],
    /// The end of its log, -1 if unknown.
    pub log_end_offset: i64,
    /// When it last had everything, in milliseconds since 1970; -1 if unknown.
    pub last_caught_up_ms: i64,
    /// Its listener for the quorum, `host:port`, if it is told.
    pub address: Option<String>,
}

impl Client {
    /// The metadata quorum.
    ///
    /// # Errors
    /// What the broker says, as when there is no leader; or when none answers.
    pub async fn describe_quorum(&self) -> Result<QuorumView, ClientError> {
        let partitions = vec![DescribeQuorumPartition { partition_index: 0 }];
        let topics = vec![DescribeQuorumTopic { topic_name: METADATA_TOPIC, partitions }];
        let reply = self.call_any::<apis::DescribeQuorum>(&DescribeQuorumRequest { topics }).await?;
        let response = reply.body()?;
        check("the metadata quorum", response.error_code, response.error_message.as_deref())?;
        let quorum = response.topics.first().and_then(|topic| topic.partitions.first());
        let quorum = quorum.ok_or_else(|| missing("the metadata quorum"))?;
        check("the metadata quorum", quorum.error_code, quorum.error_message.as_deref())?;
        let address = |id: i32| {
            let node = response.nodes.iter().find(|node| node.node_id == id)?;
            let listener = node.listeners.first()?;
            let is_v6 = listener.host.contains(':');
            let host = if is_v6 { format!("[{}]", listener.host) } else { listener.host.to_string() };
            Some(format!("{host}:{}", listener.port))
        };
        let member = |replica: &QuorumReplica, votes: bool| QuorumMember {
            id: replica.replica_id,
            votes,
            directory_id: replica.replica_directory_id,
            log_end_offset: replica.log_end_offset,
            last_caught_up_ms: replica.last_caught_up_timestamp,
            address: address(replica.replica_id),
        };
        let voters = quorum.current_voters.iter().map(|replica| member(replica, true));
        let observers = quorum.observers.iter().map(|replica| member(replica, false));
        Ok(QuorumView {
            leader_id: quorum.leader_id,
            leader_epoch: quorum.leader_epoch,
            high_watermark: quorum.high_watermark,
            members: voters.chain(observers).collect(),
        })
    }

    /// Lets an observer vote.
    ///
    /// # Errors
    /// What the broker says, as DUPLICATE_VOTER; or when none answers.
    pub async fn add_voter(&self, member: &QuorumMember) -> Result<(), ClientError> {
        let request = AddRaftVoterRequest {
            cluster_id: None,
            timeout_ms: self.change_timeout_ms(),
            voter_id: member.id,
            voter_directory_id: member.directory_id,
            listeners: Vec::new(),
            ack_when_committed: true,
        };
        let reply = self.call_any::<apis::AddRaftVoter>(&request).await?;
        let response = reply.body()?;
        check(&format!("node {}", member.id), response.error_code, response.error_message.as_deref())
    }

    /// Takes a voter's vote away.
    ///
    /// # Errors
    /// What the broker says, as VOTER_NOT_FOUND; or when none answers.
    pub async fn remove_voter(&self, member: &QuorumMember) -> Result<(), ClientError> {
        let request = RemoveRaftVoterRequest {
            cluster_id: None,
            voter_id: member.id,
            voter_directory_id: member.directory_id,
        };
        let reply = self.call_any::<apis::RemoveRaftVoter>(&request).await?;
        let response = reply.body()?;
        check(&format!("node {}", member.id), response.error_code, response.error_message.as_deref())
    }
}
