"""kcat (librdkafka on the command line), unchanged."""

import json

import pytest

from conftest import run


def kcat(cluster, *arguments, given=None):
    return run(["kcat", "-b", cluster.bootstrap, *arguments], given=given)


def test_lists_brokers_and_partitions(cluster, topic):
    listing = json.loads(kcat(cluster, "-L", "-J", "-t", topic))
    assert len(listing["brokers"]) == 3
    [shown] = listing["topics"]
    assert shown["topic"] == topic
    assert sorted(p["partition"] for p in shown["partitions"]) == [0, 1, 2]
    leaders = {p["leader"] for p in shown["partitions"]}
    assert len(leaders) == 3, "partitions are led on all brokers"


@pytest.mark.parametrize("codec", ["none", "gzip", "snappy", "lz4", "zstd"])
def test_what_is_sent_is_read(cluster, topic, codec):
    sent = [f"{codec}-{i}-" + "x" * 100 for i in range(500)]
    kcat(cluster, "-P", "-t", topic, "-p", "1", "-z", codec, "-X", "acks=all", given="\n".join(sent) + "\n")
    read = kcat(cluster, "-C", "-t", topic, "-p", "1", "-o", "beginning", "-e", "-q").splitlines()
    assert read == sent
    # Clients that don't find what they look for in ApiVersions send uncompressed, without a word.
    stored = sum(file.stat().st_size for file in cluster.topic_files(topic, 1, ".log"))
    assert (stored < sum(map(len, sent)) / 2) == (codec != "none"), f"{stored} bytes are stored"


def test_keys_headers_and_offsets(cluster, topic):
    kcat(cluster, "-P", "-t", topic, "-p", "0", "-K:", "-H", "h=v", given="k0:a\nk1:b\n")
    out = kcat(cluster, "-C", "-t", topic, "-p", "0", "-o", "beginning", "-e", "-q", "-f", "%o %k %s %h\n")
    assert out.splitlines() == ["0 k0 a h=v", "1 k1 b h=v"]
    last = kcat(cluster, "-C", "-t", topic, "-p", "0", "-o", "-1", "-e", "-q", "-f", "%o %s\n")
    assert last == "1 b\n"


def test_an_idempotent_producer(cluster, topic):
    sent = [str(i) for i in range(1000)]
    kcat(cluster, "-P", "-t", topic, "-p", "2", "-X", "enable.idempotence=true", given="\n".join(sent) + "\n")
    assert kcat(cluster, "-C", "-t", topic, "-p", "2", "-o", "beginning", "-e", "-q").splitlines() == sent


def test_offsets_by_time(cluster, topic):
    kcat(cluster, "-P", "-t", topic, "-p", "0", given="a\nb\n")
    assert f"{topic} [0] offset 0" in kcat(cluster, "-Q", "-t", f"{topic}:0:1")


def test_acks_0_and_1(cluster, topic):
    for partition, acks in enumerate(["0", "1"]):
        kcat(cluster, "-P", "-t", topic, "-p", str(partition), "-X", f"acks={acks}", given="one\ntwo\n")
        arguments = ["-C", "-t", topic, "-p", str(partition), "-o", "beginning", "-c", "2", "-q"]
        assert kcat(cluster, *arguments) == "one\ntwo\n"
