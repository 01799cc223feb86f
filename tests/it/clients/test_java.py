"""Apache Kafka 4's own command line tools, unchanged."""

import re
import uuid

import pytest

from conftest import java, run, until

TOOLS = "org.apache.kafka.tools"


def produce(cluster, topic, values, *arguments):
    given = "".join(f"{value}\n" for value in values)
    java(f"{TOOLS}.ConsoleProducer", "--bootstrap-server", cluster.bootstrap, "--topic", topic, *arguments, given=given)


def consume(cluster, topic, partition, count, *arguments):
    where = ["--topic", topic, "--partition", str(partition), "--offset", "earliest", "--max-messages", str(count)]
    where += ["--timeout-ms", "20000", *arguments]
    out = java(f"{TOOLS}.consumer.ConsoleConsumer", "--bootstrap-server", cluster.bootstrap, *where)
    return out.splitlines()


def read_all(cluster, topic):
    """Everything in a topic's partitions, by kcat."""
    out = run(["kcat", "-b", cluster.bootstrap, "-C", "-t", topic, "-o", "beginning", "-e", "-q"])
    return out.splitlines()


@pytest.mark.parametrize("codec", ["none", "gzip", "snappy", "lz4", "zstd"])
def test_console_producer_and_consumer(cluster, codec):
    from conftest import new_topic

    topic = new_topic(cluster, 1)
    values = [f"{codec} {i}" for i in range(50)]
    # The Java producer is idempotent unless told otherwise.
    produce(cluster, topic, values, "--compression-codec", codec)
    assert consume(cluster, topic, 0, 50) == values


def test_topics(cluster):
    topics = f"{TOOLS}.TopicCommand"
    name = f"java-{uuid.uuid4().hex[:8]}"
    at = ["--bootstrap-server", cluster.bootstrap]
    java(topics, *at, "--create", "--topic", name, "--partitions", "2", "--replication-factor", "1",
         "--config", "retention.ms=3600000")
    assert name in java(topics, *at, "--list").splitlines()
    java(topics, *at, "--alter", "--topic", name, "--partitions", "4")
    described = java(topics, *at, "--describe", "--topic", name)
    assert "PartitionCount: 4" in described and "retention.ms=3600000" in described
    assert len(re.findall(r"Leader: \d", described)) == 4
    java(topics, *at, "--delete", "--topic", name)
    assert name not in java(topics, *at, "--list").splitlines()


def test_get_offsets(cluster, topic):
    run(["kcat", "-b", cluster.bootstrap, "-P", "-t", topic, "-p", "1"], given="a\nb\nc\n")
    at = ["--bootstrap-server", cluster.bootstrap, "--topic", topic]
    assert java(f"{TOOLS}.GetOffsetShell", *at).splitlines() == [f"{topic}:0:0", f"{topic}:1:3", f"{topic}:2:0"]
    earliest = java(f"{TOOLS}.GetOffsetShell", *at, "--time", "earliest").splitlines()
    assert earliest == [f"{topic}:{p}:0" for p in range(3)]
    newest = java(f"{TOOLS}.GetOffsetShell", *at, "--time", "max-timestamp", "--partitions", "1").splitlines()
    assert newest in ([f"{topic}:1:{offset}"] for offset in range(3))


def test_producer_perf_test(cluster, topic):
    out = java(f"{TOOLS}.ProducerPerformance", "--topic", topic, "--num-records", "20000", "--record-size", "512",
               "--throughput", "-1", "--producer-props", f"bootstrap.servers={cluster.bootstrap}", "acks=all",
               "compression.type=lz4")
    assert re.search(r"^20000 records sent", out, re.M), out
    counts = java(f"{TOOLS}.GetOffsetShell", "--bootstrap-server", cluster.bootstrap, "--topic", topic).splitlines()
    assert sum(int(line.rsplit(":", 1)[1]) for line in counts) == 20000


def dump(files, *arguments):
    return java(f"{TOOLS}.DumpLogSegments", "--files", ",".join(map(str, files)), *arguments)


def test_dump_log_reads_our_files(cluster):
    from conftest import new_topic

    topic = new_topic(cluster, 1, {"segment.bytes": "1048576", "index.interval.bytes": "4096"})
    values = [f"{i:06d}-" + "v" * 2000 for i in range(2000)]
    settings = ["-X", "acks=all", "-X", "batch.num.messages=10", "-X", "enable.idempotence=true"]
    run(["kcat", "-b", cluster.bootstrap, "-P", "-t", topic, "-p", "0", *settings], given="\n".join(values) + "\n")
    logs = cluster.topic_files(topic, 0, ".log")
    assert len(logs) >= 3, "it was rolled"
    out = dump(logs, "--print-data-log", "--deep-iteration")
    assert re.findall(r"payload: (\d{6})-", out) == [f"{i:06d}" for i in range(2000)]
    offsets = [int(o) for o in re.findall(r"\| offset: (\d+)", out)]
    assert offsets == list(range(2000))
    assert "isvalid: false" not in out and "isvalid: true" in out

    # The indexes of closed segments agree with their logs: the tool checks both, and complains in words. They are written
    # with the next checkpoint at the latest.
    def has_indexes():
        return len(list(cluster.data.glob(f"brokers/*/**/{topic}-0/*.index"))) >= len(logs) - 1

    until(has_indexes, "the closed segments have indexes", seconds=90)
    for suffix in [".index", ".timeindex"]:
        checked = dump(cluster.topic_files(topic, 0, suffix)[:-1], "--verify-index-only" if suffix == ".index" else "--deep-iteration")
        for complaint in ["Mismatches", "mismatch", "out of order", "Exception", "corrupt"]:
            assert complaint not in checked, checked

