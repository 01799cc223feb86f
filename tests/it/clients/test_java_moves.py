"""Apache Kafka 4's kafka-reassign-partitions, on partitions with records in them."""

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
