"""Apache Kafka 4's kafka-reassign-partitions and `ottla drain`, on partitions with records in them."""

import json
import re

from conftest import BROKERS, java, new_topic, run, until

TOOLS = "org.apache.kafka.tools"
VALUES = [f"value {i}" for i in range(200)]


def tool(cluster, name, *arguments):
    return java(f"{TOOLS}.{name}", "--bootstrap-server", cluster.bootstrap, *arguments)


def reassign(cluster, *arguments):
    return tool(cluster, "reassign.ReassignPartitionsCommand", *arguments)


def placed(cluster, topic):
    """The leader, the replicas and those in sync of a topic's one partition."""
    described = tool(cluster, "TopicCommand", "--describe", "--topic", topic)
    found = re.search(r"\tLeader: (\w+)\tReplicas: ([\d,]*)\tIsr: ([\d,]*)", described)
    ids = [[int(id) for id in part.split(",") if id] for part in found.groups()[1:]]
    return found[1], *ids


def topic_with_values(cluster):
    topic = new_topic(cluster, 1)
    run(["kcat", "-b", cluster.bootstrap, "-P", "-t", topic, "-p", "0", "-X", "acks=all"], given="\n".join(VALUES) + "\n")
    return topic


def values(cluster, topic):
    return run(["kcat", "-b", cluster.bootstrap, "-C", "-t", topic, "-o", "beginning", "-e", "-q"]).splitlines()


def test_reassign_partitions_moves_records_with_a_throttle_and_clears_it(cluster, tmp_path):
    topic = topic_with_values(cluster)
    _, [old], _ = placed(cluster, topic)
    new = [id for id in range(BROKERS) if id != old]
    plan = tmp_path / "plan.json"
    plan.write_text(json.dumps({"version": 1, "partitions": [{"topic": topic, "partition": 0, "replicas": new}]}))
    which = ["--reassignment-json-file", str(plan)]
    out = reassign(cluster, *which, "--execute", "--throttle", "100000000")
    assert f"Successfully started partition reassignment for {topic}-0" in out, out

    def is_complete():
        return f"Reassignment of partition {topic}-0 is completed." in reassign(cluster, *which, "--verify")

    until(is_complete, "the move is over", seconds=60)
    assert "No partition reassignments found." in reassign(cluster, "--list")
    until(lambda: placed(cluster, topic) == (str(new[0]), new, new), "the new replicas are in sync")
    assert values(cluster, topic) == VALUES
    described = tool(cluster, "TopicCommand", "--describe", "--topic", topic)
    assert "throttled" not in described, described


def held(cluster, broker):
    """The partitions whose logs are on a broker's disk."""
    dirs = tool(cluster, "LogDirsCommand", "--describe", "--broker-list", str(broker))
    answer = json.loads(next(line for line in dirs.splitlines() if line.startswith("{")))
    return [p["partition"] for log_dir in answer["brokers"][0]["logDirs"] for p in log_dir["partitions"]]


def test_an_emptied_broker_holds_nothing_and_records_are_still_there(cluster):
    topics = [topic_with_values(cluster) for _ in range(3)]
    _, [broker], _ = placed(cluster, topics[0])
    out = cluster.ottla("drain", str(broker))
    assert f"broker {broker} is empty" in out, out
    try:
        for topic in topics:
            _, replicas, in_sync = placed(cluster, topic)
            assert broker not in replicas and replicas == in_sync, (replicas, in_sync)
            assert values(cluster, topic) == VALUES
        until(lambda: held(cluster, broker) == [], "the disk is free again")
    finally:
        cluster.ottla("undrain", str(broker))
