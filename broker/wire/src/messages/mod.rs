//! One file for each API: its request, its response, and the structs in them; and the list of all APIs.
//!
//! The names are Kafka's, in Rust's spelling. Where a version lacks a field it has Kafka's default.

mod add_raft_voter;
mod alter_configs;
mod alter_partition_reassignments;
mod api_versions;
mod consumer_group_describe;
mod consumer_group_heartbeat;
mod create_partitions;
mod create_topics;
mod delete_groups;
mod delete_records;
mod delete_topics;
mod describe_cluster;
mod describe_configs;
mod describe_groups;
mod describe_log_dirs;
mod describe_quorum;
mod describe_topic_partitions;
mod elect_leaders;
mod fetch;
mod find_coordinator;
mod heartbeat;
mod incremental_alter_configs;
mod init_producer_id;
mod join_group;
mod leave_group;
mod list_groups;
mod list_offsets;
mod list_partition_reassignments;
mod metadata;
mod offset_commit;
mod offset_delete;
mod offset_fetch;
mod offset_for_leader_epoch;
mod produce;
mod remove_raft_voter;
mod shared;
mod sync_group;
mod unregister_broker;

pub use shared::*;

/// Calls the macro `$then` with what is given after it and the list of all APIs that we can speak: each with
/// the module of its messages, its name, which is its key's, and its request and response.
#[macro_export]
macro_rules! with_apis {
    ($then:path $(, $($given:tt)*)?) => {
        $then! { $($($given)*)?
            produce: Produce(ProduceRequest<'a>, ProduceResponse<'a>);
            fetch: Fetch(FetchRequest<'a>, FetchResponse<'a>);
            list_offsets: ListOffsets(ListOffsetsRequest<'a>, ListOffsetsResponse<'a>);
            metadata: Metadata(MetadataRequest<'a>, MetadataResponse<'a>);
            offset_commit: OffsetCommit(OffsetCommitRequest<'a>, OffsetCommitResponse<'a>);
            offset_fetch: OffsetFetch(OffsetFetchRequest<'a>, OffsetFetchResponse<'a>);
            find_coordinator: FindCoordinator(FindCoordinatorRequest<'a>, FindCoordinatorResponse<'a>);
            join_group: JoinGroup(JoinGroupRequest<'a>, JoinGroupResponse<'a>);
            heartbeat: Heartbeat(HeartbeatRequest<'a>, HeartbeatResponse);
            leave_group: LeaveGroup(LeaveGroupRequest<'a>, LeaveGroupResponse<'a>);
            sync_group: SyncGroup(SyncGroupRequest<'a>, SyncGroupResponse<'a>);
            describe_groups: DescribeGroups(DescribeGroupsRequest<'a>, DescribeGroupsResponse<'a>);
            list_groups: ListGroups(ListGroupsRequest<'a>, ListGroupsResponse<'a>);
            api_versions: ApiVersions(ApiVersionsRequest<'a>, ApiVersionsResponse<'a>);
            create_topics: CreateTopics(CreateTopicsRequest<'a>, CreateTopicsResponse<'a>);
            delete_topics: DeleteTopics(DeleteTopicsRequest<'a>, DeleteTopicsResponse<'a>);
            delete_records: DeleteRecords(DeleteRecordsRequest<'a>, DeleteRecordsResponse<'a>);
            init_producer_id: InitProducerId(InitProducerIdRequest<'a>, InitProducerIdResponse);
            offset_for_leader_epoch: OffsetForLeaderEpoch(OffsetForLeaderEpochRequest<'a>, OffsetForLeaderEpochResponse<'a>);
            describe_configs: DescribeConfigs(DescribeConfigsRequest<'a>, DescribeConfigsResponse<'a>);
            alter_configs: AlterConfigs(AlterConfigsRequest<'a>, AlterConfigsResponse<'a>);
            describe_log_dirs: DescribeLogDirs(DescribeLogDirsRequest<'a>, DescribeLogDirsResponse<'a>);
            create_partitions: CreatePartitions(CreatePartitionsRequest<'a>, CreatePartitionsResponse<'a>);
            delete_groups: DeleteGroups(DeleteGroupsRequest<'a>, DeleteGroupsResponse<'a>);
            elect_leaders: ElectLeaders(ElectLeadersRequest<'a>, ElectLeadersResponse<'a>);
            incremental_alter_configs: IncrementalAlterConfigs(IncrementalAlterConfigsRequest<'a>, IncrementalAlterConfigsResponse<'a>);
            alter_partition_reassignments: AlterPartitionReassignments(AlterPartitionReassignmentsRequest<'a>, AlterPartitionReassignmentsResponse<'a>);
            list_partition_reassignments: ListPartitionReassignments(ListPartitionReassignmentsRequest<'a>, ListPartitionReassignmentsResponse<'a>);
            offset_delete: OffsetDelete(OffsetDeleteRequest<'a>, OffsetDeleteResponse<'a>);
            describe_quorum: DescribeQuorum(DescribeQuorumRequest<'a>, DescribeQuorumResponse<'a>);
            describe_cluster: DescribeCluster(DescribeClusterRequest, DescribeClusterResponse<'a>);
            unregister_broker: UnregisterBroker(UnregisterBrokerRequest, UnregisterBrokerResponse<'a>);
            consumer_group_heartbeat: ConsumerGroupHeartbeat(ConsumerGroupHeartbeatRequest<'a>, ConsumerGroupHeartbeatResponse<'a>);
            consumer_group_describe: ConsumerGroupDescribe(ConsumerGroupDescribeRequest<'a>, ConsumerGroupDescribeResponse<'a>);
            describe_topic_partitions: DescribeTopicPartitions(DescribeTopicPartitionsRequest<'a>, DescribeTopicPartitionsResponse<'a>);
            add_raft_voter: AddRaftVoter(AddRaftVoterRequest<'a>, AddRaftVoterResponse<'a>);
            remove_raft_voter: RemoveRaftVoter(RemoveRaftVoterRequest<'a>, RemoveRaftVoterResponse<'a>);
        }
    };
}

macro_rules! export_messages {
    ($($module:ident: $name:ident $messages:tt;)*) => {
        $(pub use $module::*;)*
    };
}

with_apis! { export_messages }
