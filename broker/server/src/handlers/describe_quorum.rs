//! DescribeQuorum: who votes on the metadata, who only follows, and how far each of them is.

use std::borrow::Cow;

use ottla_quorum::{QuorumDescription, QuorumReplica as Member};
use ottla_wire::ErrorCode;
use ottla_wire::apis::DescribeQuorum;
use ottla_wire::messages::{
    DescribeQuorumPartitionResponse, DescribeQuorumRequest, DescribeQuorumResponse,
    DescribeQuorumTopicResponse, QuorumListener, QuorumNode, QuorumReplica,
};

use super::call::{Begun, Call};
use super::errors::submit_error;

/// The one topic that has a quorum, in its partition 0.
const METADATA_TOPIC: &str = "__cluster_metadata";

/// Asks the active controller.
pub fn begin(call: Call) -> Begun {
    Box::pin(async move {
        let request = call.decode::<DescribeQuorum>()?;
        let described = call.broker.quorum.describe().await;
        let response = match &described {
            Ok(quorum) => describe(&call, &request, quorum),
            Err(error) => DescribeQuorumResponse {
                error_code: submit_error(error).code(),
                error_message: Some(Cow::Owned(error.to_string())),
                ..Default::default()
            },
        };
        call.respond::<DescribeQuorum>(&response)
    })
}

fn describe<'a>(
    call: &'a Call,
    request: &DescribeQuorumRequest<'a>,
    quorum: &'a QuorumDescription,
) -> DescribeQuorumResponse<'a> {
    let topics = request.topics.iter().map(|topic| DescribeQuorumTopicResponse {
        topic_name: Cow::Borrowed(topic.topic_name),
        partitions: topic
            .partitions
            .iter()
            .map(|asked| match (topic.topic_name, asked.partition_index) {
                (METADATA_TOPIC, 0) => partition(quorum),
                (_, partition_index) => DescribeQuorumPartitionResponse {
                    partition_index,
                    error_code: ErrorCode::UnknownTopicOrPartition.code(),
                    error_message: Some(Cow::Borrowed("only partition 0 of __cluster_metadata has a quorum")),
                    ..Default::default()
                },
            })
            .collect(),
    });
    let members = quorum.voters.iter().chain(&quorum.observers);
    DescribeQuorumResponse {
        topics: topics.collect(),
        nodes: members.map(|member| node(member, &call.broker.config.listeners.control.name)).collect(),
        ..Default::default()
    }
}

fn partition(quorum: &QuorumDescription) -> DescribeQuorumPartitionResponse<'static> {
    DescribeQuorumPartitionResponse {
        partition_index: 0,
        leader_id: quorum.leader.0,
        leader_epoch: i32::try_from(quorum.term).unwrap_or(i32::MAX),
        high_watermark: quorum.high_watermark,
        current_voters: quorum.voters.iter().map(replica).collect(),
        observers: quorum.observers.iter().map(replica).collect(),
        ..Default::default()
    }
}

fn replica(member: &Member) -> QuorumReplica {
    QuorumReplica {
        replica_id: member.id.0,
        replica_directory_id: member.directory_id.0,
        log_end_offset: member.log_end_offset,
        last_fetch_timestamp: member.last_fetch_ms,
        last_caught_up_timestamp: member.last_caught_up_ms,
    }
}

/// Where a member of the quorum has its control API.
fn node<'a>(member: &'a Member, listener: &'a str) -> QuorumNode<'a> {
    let (host, port) = member.address.rsplit_once(':').unwrap_or((&member.address, ""));
    let listener = QuorumListener {
        name: Cow::Borrowed(listener),
        host: Cow::Borrowed(host.trim_start_matches('[').trim_end_matches(']')),
        port: port.parse().unwrap_or(0),
    };
    QuorumNode { node_id: member.id.0, listeners: vec![listener] }
}
