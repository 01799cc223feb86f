//! Every API that is served: one line each, with its versions and the right that it needs.
//!
//! ApiVersions is answered from this list.

use ottla_wire::codec::Message;
use ottla_wire::messages::ApiVersion;
use ottla_wire::{Api, ApiKey, DecodeError, Decoder, RequestHeader, apis};

use super::{
    add_raft_voter, alter_configs, alter_partition_reassignments, api_versions, create_partitions,
    create_topics, delete_topics, describe_cluster, describe_configs, describe_log_dirs, describe_quorum,
    describe_topic_partitions, elect_leaders, fetch, find_coordinator, incremental_alter_configs,
    init_producer_id, list_offsets, list_partition_reassignments, metadata, offset_for_leader_epoch, produce,
    remove_raft_voter, unregister_broker,
};
use crate::request::{AnswerCost, Begun, Call, CallError, Count};

/// The right that an API needs, as Kafka's access control lists name them. Nothing is refused by it so far.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Operation {
    /// None: it is needed before a client can be known.
    None,
    /// To read a topic.
    ReadTopic,
    /// To write to a topic.
    WriteTopic,
    /// To see that a topic exists.
    DescribeTopic,
    /// To create topics.
    CreateTopic,
    /// To delete a topic.
    DeleteTopic,
    /// To change a topic.
    AlterTopic,
    /// To change configurations.
    AlterConfigs,
    /// To see configurations.
    DescribeConfigs,
    /// To change the cluster.
    AlterCluster,
    /// To see the cluster.
    DescribeCluster,
    /// To write with sequence numbers.
    IdempotentWrite,
    /// To see a group.
    DescribeGroup,
}

/// An API that is served.
#[derive(Debug, Clone, Copy)]
pub struct Served {
    /// Its key.
    pub key: ApiKey,
    /// The oldest version that is served.
    pub version_first: i16,
    /// The newest.
    pub version_last: i16,
    /// The right that it needs.
    pub operation: Operation,
    /// What serving a request takes, at most, for each byte of its arrays and texts: those arrays themselves, what is made
    /// of them, and the answer until it is sent. A test counts it.
    pub cost_factor: usize,
    /// Measures a request. Takes no memory itself.
    pub measure: Measure,
    /// What its answer takes besides, where that isn't bounded by the request: some that are short are about much.
    pub answer: AnswerCost,
    /// Begins a request.
    pub begin: fn(Call) -> Begun,
}

/// What there is in a request, in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Measured {
    /// What its arrays take once it is decoded.
    pub arrays: usize,
    /// The length of its texts.
    pub texts: usize,
}

/// From a whole frame, the request's version and the most that its arrays may take, in bytes, to what there is in it.
pub type Measure = fn(&[u8], i16, usize) -> Result<Measured, DecodeError>;

fn measure<A: Api>(frame: &[u8], version: i16, limit_bytes: usize) -> Result<Measured, DecodeError> {
    let mut decoder = Decoder::with_memory_limit(frame, limit_bytes);
    RequestHeader::decode(&mut decoder)?;
    A::Request::skip_body(&mut decoder, version)?;
    Ok(Measured { arrays: decoder.memory_bytes(), texts: decoder.text_bytes() })
}

const fn serve<A: Api>(
    version_first: i16,
    version_last: i16,
    operation: Operation,
    cost_factor: usize,
    begin: fn(Call) -> Begun,
) -> Served {
    Served {
        key: A::KEY,
        version_first,
        version_last,
        operation,
        cost_factor,
        measure: measure::<A>,
        answer: AnswerCost::Nothing,
        begin,
    }
}

impl Served {
    const fn answered_with(self, bytes: fn(&Call) -> Result<usize, CallError>) -> Self {
        Self { answer: AnswerCost::Bytes(bytes), ..self }
    }

    const fn telling_of(
        self,
        count: fn(&Call) -> Result<Count, CallError>,
        topic_bytes: usize,
        partition_bytes: usize,
    ) -> Self {
        Self { answer: AnswerCost::Topics { count, topic_bytes, partition_bytes }, ..self }
    }
}

/// All APIs, by ascending key.
#[rustfmt::skip]
pub const SERVED: &[Served] = &[
    serve::<apis::Produce>(3, 13, Operation::WriteTopic, 12, produce::begin),
    serve::<apis::Fetch>(4, 18, Operation::ReadTopic, 14, fetch::begin),
    serve::<apis::ListOffsets>(1, 11, Operation::DescribeTopic, 12, list_offsets::begin),
    serve::<apis::Metadata>(0, 13, Operation::DescribeTopic, 12, metadata::begin).telling_of(metadata::count, 256, 320),
    serve::<apis::FindCoordinator>(0, 6, Operation::DescribeGroup, 32, find_coordinator::begin),
    serve::<apis::ApiVersions>(0, 4, Operation::None, 8, api_versions::begin),
    serve::<apis::CreateTopics>(2, 7, Operation::CreateTopic, 128, create_topics::begin),
    serve::<apis::DeleteTopics>(1, 6, Operation::DeleteTopic, 32, delete_topics::begin),
    serve::<apis::InitProducerId>(0, 5, Operation::IdempotentWrite, 8, init_producer_id::begin),
    serve::<apis::OffsetForLeaderEpoch>(2, 4, Operation::DescribeTopic, 12, offset_for_leader_epoch::begin),
    serve::<apis::DescribeConfigs>(1, 4, Operation::DescribeConfigs, 32, describe_configs::begin).answered_with(describe_configs::answer_bytes),
    serve::<apis::AlterConfigs>(0, 2, Operation::AlterConfigs, 32, alter_configs::begin),
    serve::<apis::DescribeLogDirs>(1, 5, Operation::DescribeCluster, 32, describe_log_dirs::begin).telling_of(describe_log_dirs::count, 256, 96),
    serve::<apis::CreatePartitions>(0, 3, Operation::AlterTopic, 32, create_partitions::begin),
    serve::<apis::ElectLeaders>(0, 2, Operation::AlterCluster, 400, elect_leaders::begin).telling_of(elect_leaders::count, 256, 1_600),
    serve::<apis::IncrementalAlterConfigs>(0, 1, Operation::AlterConfigs, 32, incremental_alter_configs::begin),
    serve::<apis::AlterPartitionReassignments>(0, 1, Operation::AlterCluster, 48, alter_partition_reassignments::begin),
    serve::<apis::ListPartitionReassignments>(0, 0, Operation::DescribeCluster, 16, list_partition_reassignments::begin).telling_of(list_partition_reassignments::count, 128, 320),
    serve::<apis::DescribeQuorum>(0, 2, Operation::DescribeCluster, 96, describe_quorum::begin),
    serve::<apis::DescribeCluster>(0, 2, Operation::DescribeCluster, 8, describe_cluster::begin),
    serve::<apis::UnregisterBroker>(0, 0, Operation::AlterCluster, 8, unregister_broker::begin),
    serve::<apis::DescribeTopicPartitions>(0, 0, Operation::DescribeTopic, 32, describe_topic_partitions::begin),
    serve::<apis::AddRaftVoter>(0, 1, Operation::AlterCluster, 16, add_raft_voter::begin),
    serve::<apis::RemoveRaftVoter>(0, 0, Operation::AlterCluster, 8, remove_raft_voter::begin),
];

/// The place of an API in [`SERVED`].
pub fn position(api_key: i16) -> Option<usize> {
    SERVED.iter().position(|served| served.key.code() == api_key)
}

impl Served {
    /// The oldest version that ApiVersions tells. As Apache Kafka 4 it tells of Produce from 0 on and serves 3 and up: older
    /// versions of librdkafka take the compressions for unknown otherwise and send uncompressed, without a word.
    pub fn version_told_first(&self) -> i16 {
        if self.key == ApiKey::Produce { 0 } else { self.version_first }
    }
}

/// What ApiVersions tells.
pub fn versions() -> Vec<ApiVersion> {
    let version = |served: &Served| ApiVersion {
        api_key: served.key.code(),
        min_version: served.version_told_first(),
        max_version: served.version_last,
    };
    SERVED.iter().map(version).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What a broker of Apache Kafka 4.3.1 answers, asked with version 4: key, oldest and newest version.
    const KAFKA: &[(i16, i16, i16)] = &[
        (0, 0, 13),
        (1, 4, 18),
        (2, 1, 11),
        (3, 0, 13),
        (10, 0, 6),
        (18, 0, 4),
        (19, 2, 7),
        (20, 1, 6),
        (22, 0, 5),
        (23, 2, 4),
        (32, 1, 4),
        (33, 0, 2),
        (35, 1, 5),
        (37, 0, 3),
        (43, 0, 2),
        (44, 0, 1),
        (45, 0, 1),
        (46, 0, 0),
        (55, 0, 2),
        (60, 0, 2),
        (64, 0, 0),
        (75, 0, 0),
        (80, 0, 1),
        (81, 0, 0),
    ];

    #[test]
    fn versions_are_told_as_apache_kafka_tells_them() {
        let told: Vec<_> =
            versions().iter().map(|api| (api.api_key, api.min_version, api.max_version)).collect();
        assert_eq!(told, KAFKA, "clients draw conclusions from both ends of a range");
    }

    #[test]
    fn keys_ascend_and_versions_can_be_read() {
        assert!(SERVED.is_sorted_by(|a, b| a.key < b.key));
        ottla_wire::for_each_api!(A => {
            // What can be spoken needn't be served.
            if let Some(position) = position(A::KEY.code()) {
                let served = &SERVED[position];
                assert!(A::VERSIONS.contains(&served.version_first), "{}", A::KEY);
                assert!(A::VERSIONS.contains(&served.version_last), "{}", A::KEY);
            }
        });
    }
}
