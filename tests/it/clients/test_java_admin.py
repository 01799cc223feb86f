"""Apache Kafka 4's own tools for administrators, unchanged: replicas, leaders, the quorum, folders, settings."""

import json
import re

from conftest import BROKERS, java, new_topic, until

TOOLS = "org.apache.kafka.tools"


def tool(cluster, name, *arguments, **options):
    return java(f"{TOOLS}.{name}", "--bootstrap-server", cluster.bootstrap, *arguments, **options)


def describe(cluster, topic, *arguments):
    return tool(cluster, "TopicCommand", "--describe", "--topic", topic, *arguments)


def test_topics_describe_shows_replicas_in_sync_and_eligible_leaders(cluster):
    topic = new_topic(cluster, 1)
    described = describe(cluster, topic)
    assert re.search(r"Leader: \d\tReplicas: \d\tIsr: \d\tElr: \tLastKnownElr: ", described), described
    for only in ["--under-replicated-partitions", "--unavailable-partitions", "--under-min-isr-partitions"]:
        assert topic not in describe(cluster, topic, only)


def test_leader_election(cluster):
    topic = new_topic(cluster, 2)
    chosen = ["--topic", topic, "--partition", "0"]
    for kind in ["preferred", "unclean"]:
        out = tool(cluster, "LeaderElectionCommand", "--election-type", kind, *chosen)
        assert f"Valid replica already elected for partitions {topic}-0" in out, out
    out = tool(cluster, "LeaderElectionCommand", "--election-type", "preferred", "--all-topic-partitions")
    assert "Error" not in out, out


def test_metadata_quorum(cluster):
    status = tool(cluster, "MetadataQuorumCommand", "describe", "--status")
    leader = int(re.search(r"^LeaderId:\s+(\d+)$", status, re.M)[1])
    assert leader in range(BROKERS), status
    assert int(re.search(r"^HighWatermark:\s+(\d+)$", status, re.M)[1]) > 0, status
    voters = json.loads(re.search(r"^CurrentVoters:\s+(.*)$", status, re.M)[1])
    assert sorted(voter["id"] for voter in voters) == list(range(BROKERS)), status
    assert all(voter["endpoints"][0].startswith("CONTROLLER://127.0.0.1:") for voter in voters), status
    replicas = tool(cluster, "MetadataQuorumCommand", "describe", "--replication").splitlines()[1:]
    assert sum("Leader" in line for line in replicas) == 1 and sum("Follower" in line for line in replicas) == 2, replicas


def test_a_voter_leaves_and_comes_back(cluster):
    status = tool(cluster, "MetadataQuorumCommand", "describe", "--status")
    leader = int(re.search(r"^LeaderId:\s+(\d+)$", status, re.M)[1])
    voters = json.loads(re.search(r"^CurrentVoters:\s+(.*)$", status, re.M)[1])
    voter = next(voter for voter in voters if voter["id"] != leader)
    who = ["--controller-id", str(voter["id"]), "--controller-directory-id", voter["directoryId"]]
    out = tool(cluster, "MetadataQuorumCommand", "remove-controller", *who)
    assert re.search(rf"Removed +KRaft controller {voter['id']} ", out), out
    assert len(members(cluster, "voter")) == BROKERS - 2, "beside the leader"
    assert members(cluster, "observer") == [voter["id"]]
    cluster.ottla("quorum", "add-voter", str(voter["id"]))
    assert len(members(cluster, "voter")) == BROKERS - 1


def members(cluster, role):
    lines = cluster.ottla("quorum", "describe").splitlines()[1:]
    return [int(line.split()[0]) for line in lines if line.split()[1] == role]


def test_log_dirs(cluster):
    topic = new_topic(cluster, 1)
    out = tool(cluster, "LogDirsCommand", "--describe", "--topic-list", topic)
    answer = json.loads(next(line for line in out.splitlines() if line.startswith("{")))
    assert sorted(broker["broker"] for broker in answer["brokers"]) == list(range(BROKERS))
    dirs = [log_dir for broker in answer["brokers"] for log_dir in broker["logDirs"]]
    assert len(dirs) == BROKERS and all(log_dir["error"] is None for log_dir in dirs), dirs
    found = [partition for log_dir in dirs for partition in log_dir["partitions"]]
    assert [partition["partition"] for partition in found] == [f"{topic}-0"], found


def test_settings_change_by_librdkafka(cluster):
    from confluent_kafka.admin import AdminClient, AlterConfigOpType, ConfigEntry, ConfigResource, ResourceType

    topic = new_topic(cluster, 1)
    admin = AdminClient({"bootstrap.servers": cluster.bootstrap})

    def alter(resource_type, name, key, value, operation=AlterConfigOpType.SET):
        entry = ConfigEntry(key, value, incremental_operation=operation)
        resource = ConfigResource(resource_type, name, incremental_configs=[entry])
        return admin.incremental_alter_configs([resource])[resource].result(20)

    def setting(resource_type, name, key):
        resource = ConfigResource(resource_type, name)
        return admin.describe_configs([resource])[resource].result(20)[key].value

    alter(ResourceType.TOPIC, topic, "retention.ms", "5000")
    until(lambda: setting(ResourceType.TOPIC, topic, "retention.ms") == "5000", "the topic's setting")
    rate = "leader.replication.throttled.rate"
    alter(ResourceType.BROKER, "0", rate, "1000000")
    until(lambda: setting(ResourceType.BROKER, "0", rate) == "1000000", "the broker's setting")
    alter(ResourceType.BROKER, "0", rate, None, AlterConfigOpType.DELETE)
    until(lambda: setting(ResourceType.BROKER, "0", rate) != "1000000", "the broker's default")
