//! DescribeQuorum: who votes on the metadata, who only follows, and how far each of them is.

use std::borrow::Cow;

use ottla_quorum::{QuorumDescription, QuorumReplica as Member};
use ottla_wire::ErrorCode;
use ottla_wire::apis::DescribeQuorum;
use ottla_wire::messages::{
    DescribeQuorumPartitionResponse, DescribeQuorumRequest, DescribeQuorumResponse,
    DescribeQuorumTopicResponse, QuorumListener, QuorumNode, QuorumReplica,
};

use crate::request::{Begun, Call, submit_error};

/// The one topic that has a quorum, in its partition 0.
const METADATA_TOPIC: &str = "__cluster_metadata";

const ONLY_ONE: &str = "only partition 0 of __cluster_metadata has a quorum: name that one, once";

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
    let is_valid = names_the_quorum(request);
    let topics = request.topics.iter().map(|topic| DescribeQuorumTopicResponse {
        topic_name: Cow::Borrowed(topic.topic_name),
        partitions: topic
            .partitions
            .iter()
            .map(|asked| match is_valid {
                true => partition(quorum),
                false => DescribeQuorumPartitionResponse {
                    partition_index: asked.partition_index,
                    error_code: ErrorCode::UnknownTopicOrPartition.code(),
                    error_message: Some(Cow::Borrowed(ONLY_ONE)),
                    ..Default::default()
                },
            })
            .collect(),
    });
    DescribeQuorumResponse {
        topics: topics.collect(),
        nodes: nodes(quorum, &call.broker.config.listeners.control.name),
        ..Default::default()
    }
}

/// Whether a request names the one partition that has a quorum, and nothing else: as in Apache Kafka
/// (RaftUtil), where all of any other request is refused.
fn names_the_quorum(request: &DescribeQuorumRequest<'_>) -> bool {
    match &request.topics[..] {
        [topic] => {
            topic.topic_name == METADATA_TOPIC
                && topic.partitions.len() == 1
                && topic.partitions[0].partition_index == 0
        }
        _ => false,
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

/// Where the voters are. Who only follows has no endpoint of the quorum: Apache Kafka tells none of it, and
/// its tools show what they are told.
fn nodes<'a>(quorum: &'a QuorumDescription, listener: &'a str) -> Vec<QuorumNode<'a>> {
    quorum.voters.iter().map(|voter| node(voter, listener)).collect()
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

#[cfg(test)]
mod tests {
    use ottla_types::{BrokerId, DirectoryId};

    use super::*;

    #[test]
    fn endpoints_are_those_of_voters() {
        let member = |id: i32, address: &str| Member {
            id: BrokerId(id),
            address: address.to_owned(),
            directory_id: DirectoryId([1; 16]),
            log_end_offset: 7,
            last_fetch_ms: -1,
            last_caught_up_ms: -1,
            wanted: true,
        };
        let quorum = QuorumDescription {
            leader: BrokerId(1),
            term: 3,
            high_watermark: 7,
            voters: vec![member(1, "a:9093"), member(2, "[::1]:9094")],
            observers: vec![member(3, "c:9093")],
        };
        let told: Vec<_> = nodes(&quorum, "CONTROLLER")
            .iter()
            .map(|node| (node.node_id, node.listeners[0].host.to_string(), node.listeners[0].port))
            .collect();
        assert_eq!(told, [(1, "a".to_owned(), 9093), (2, "::1".to_owned(), 9094)]);
        let described = partition(&quorum);
        assert_eq!((described.current_voters.len(), described.observers.len()), (2, 1));
    }
}
