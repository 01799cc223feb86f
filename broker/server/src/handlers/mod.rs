//! Requests: one file an API, and the registry of all that are served.
//!
//! A handler decodes its request, asks the broker's parts, and encodes the answer; it holds no state of its
//! own.

use ottla_wire::apis;
use ottla_wire::messages::ApiVersion;

mod add_raft_voter;
mod alter_configs;
mod alter_partition_reassignments;
mod api_versions;
mod commands;
mod config_changes;
mod create_partitions;
mod create_topics;
mod delete_topics;
mod describe_cluster;
mod describe_configs;
mod describe_log_dirs;
mod describe_quorum;
mod describe_topic_partitions;
mod dispatch;
mod duplicates;
mod elect_leaders;
mod fetch;
mod find_coordinator;
mod incremental_alter_configs;
mod init_producer_id;
mod internal_topics;
mod large;
mod list_offsets;
mod list_partition_reassignments;
mod metadata;
mod offset_for_leader_epoch;
mod partitions;
mod produce;
mod remove_raft_voter;
mod rights;
mod served;
mod service;
mod unregister_broker;

pub use internal_topics::create_offsets_topic;
use served::serve;
pub use served::{Measured, Operation, Served};

/// The registry: all APIs, by ascending key. ApiVersions is answered from it.
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
fn position(api_key: i16) -> Option<usize> {
    SERVED.iter().position(|served| served.key.code() == api_key)
}

/// What ApiVersions tells.
pub fn versions() -> Vec<ApiVersion> {
    SERVED
        .iter()
        .map(|served| ApiVersion {
            api_key: served.key.code(),
            min_version: served.version_told_first(),
            max_version: served.version_last,
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use ottla_wire::Api;

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
