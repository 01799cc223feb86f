"""confluent-kafka (librdkafka), unchanged."""

import time
import uuid

import pytest
from confluent_kafka import Consumer, KafkaError, KafkaException, Producer, TopicPartition
from confluent_kafka.admin import AdminClient, ConfigResource, NewPartitions, NewTopic, OffsetSpec, ResourceType

from conftest import new_topic, until

SECONDS = 20


def producer(cluster, **settings):
    return Producer({"bootstrap.servers": cluster.bootstrap, **settings})


def send(cluster, topic, values, partition=0, **settings):
    """Sends values; returns the offset that each was acknowledged at."""
    reports = []
    sender = producer(cluster, **settings)
    for value in values:
        sender.produce(topic, value, partition=partition, on_delivery=lambda error, m: reports.append((error, m.offset())))
    assert sender.flush(SECONDS) == 0
    assert all(error is None for error, _ in reports), reports[:3]
    return [offset for _, offset in reports]


def read(cluster, topic, count, partition=0, offset=0, **settings):
    reader = Consumer({"bootstrap.servers": cluster.bootstrap, "group.id": "unused", "enable.auto.commit": False,
                       **settings})
    reader.assign([TopicPartition(topic, partition, offset)])
    messages = []
    while len(messages) < count:
        got = reader.consume(count - len(messages), SECONDS)
        assert got, f"only {len(messages)} of {count} within {SECONDS} s"
        assert all(m.error() is None for m in got)
        messages += got
    reader.close()
    return messages


@pytest.mark.parametrize("codec", ["none", "gzip", "snappy", "lz4", "zstd"])
@pytest.mark.parametrize("idempotent", [False, True])
def test_round_trip(cluster, topic, codec, idempotent):
    values = [f"{i}-{'y' * (i % 300)}".encode() for i in range(2000)]
    settings = {"compression.type": codec, "enable.idempotence": idempotent, "acks": "all"}
    offsets = send(cluster, topic, values, partition=1, **settings)
    assert offsets == list(range(2000))
    messages = read(cluster, topic, 2000, partition=1)
    assert [m.value() for m in messages] == values
    assert [m.offset() for m in messages] == offsets


def test_headers_keys_and_timestamps(cluster, topic):
    sender = producer(cluster)
    sender.produce(topic, "v", "k", partition=0, headers=[("a", b"1"), ("b", None)], timestamp=1_700_000_000_123)
    sender.produce(topic, None, "tombstone", partition=0)
    assert sender.flush(SECONDS) == 0
    first, second = read(cluster, topic, 2)
    assert (first.key(), first.value(), first.headers()) == (b"k", b"v", [("a", b"1"), ("b", None)])
    assert first.timestamp()[1] == 1_700_000_000_123
    assert second.value() is None


def test_append_time(cluster):
    topic = new_topic(cluster, 1, {"message.timestamp.type": "LogAppendTime"})
    sender = producer(cluster)
    sender.produce(topic, "v", partition=0, timestamp=1)
    assert sender.flush(SECONDS) == 0
    [message] = read(cluster, topic, 1, **{"check.crcs": True})
    assert message.timestamp()[0] == 2 and message.timestamp()[1] > 1_700_000_000_000


def test_checksums_hold(cluster, topic):
    send(cluster, topic, [b"x" * 1000] * 100)
    assert len(read(cluster, topic, 100, **{"check.crcs": True})) == 100


def test_a_large_record_and_one_too_large(cluster, topic):
    [offset] = send(cluster, topic, [b"z" * 900_000])
    assert offset == 0 and len(read(cluster, topic, 1)[0].value()) == 900_000
    errors = []
    sender = producer(cluster, **{"message.max.bytes": 3_000_000})
    sender.produce(topic, b"z" * 2_000_000, partition=0, on_delivery=lambda error, _: errors.append(error))
    sender.flush(SECONDS)
    assert [e.code() for e in errors] == [KafkaError.MSG_SIZE_TOO_LARGE]


def test_offsets(cluster, topic):
    for i in range(10):
        sender = producer(cluster)
        sender.produce(topic, str(i), partition=0, timestamp=1_700_000_000_000 + i * 1000)
        assert sender.flush(SECONDS) == 0
    admin = AdminClient({"bootstrap.servers": cluster.bootstrap})
    partition = TopicPartition(topic, 0)
    for spec, expected in [
        (OffsetSpec.earliest(), 0),
        (OffsetSpec.latest(), 10),
        (OffsetSpec.max_timestamp(), 9),
        (OffsetSpec.for_timestamp(1_700_000_004_500), 5),
    ]:
        [future] = admin.list_offsets({partition: spec}).values()
        assert future.result(SECONDS).offset == expected, spec
    reader = Consumer({"bootstrap.servers": cluster.bootstrap, "group.id": "unused"})
    assert reader.get_watermark_offsets(partition, SECONDS) == (0, 10)
    reader.close()


def test_out_of_range_is_said(cluster, topic):
    send(cluster, topic, [b"only"])
    settings = {"bootstrap.servers": cluster.bootstrap, "group.id": "unused", "auto.offset.reset": "error"}
    reader = Consumer(settings)
    reader.assign([TopicPartition(topic, 0, 1_000)])
    message = reader.poll(SECONDS)
    # librdkafka reports it as its own "auto offset reset" error, with the broker's in the text.
    assert message is not None and message.error().code() == KafkaError._AUTO_OFFSET_RESET
    reader.close()


def test_admin(cluster):
    admin = AdminClient({"bootstrap.servers": cluster.bootstrap})
    name = f"admin-{uuid.uuid4().hex[:8]}"
    admin.create_topics([NewTopic(name, 2, 1, config={"retention.ms": "3600000"})])[name].result(SECONDS)
    with pytest.raises(KafkaException) as refused:
        admin.create_topics([NewTopic(name, 2, 1)])[name].result(SECONDS)
    assert refused.value.args[0].code() == KafkaError.TOPIC_ALREADY_EXISTS
    with pytest.raises(KafkaException) as refused:
        admin.create_topics([NewTopic(name + "-4", 1, 4)])[name + "-4"].result(SECONDS)
    assert refused.value.args[0].code() == KafkaError.INVALID_REPLICATION_FACTOR
    assert "4" in refused.value.args[0].str()
    with pytest.raises(KafkaException) as refused:
        bad = NewTopic(name + "-c", 1, 1, config={"retention.ms": "soon"})
        admin.create_topics([bad])[name + "-c"].result(SECONDS)
    assert refused.value.args[0].code() == KafkaError.INVALID_CONFIG

    admin.create_partitions([NewPartitions(name, 5)])[name].result(SECONDS)
    until(lambda: len(admin.list_topics(name, SECONDS).topics[name].partitions) == 5, "five partitions")

    resource = ConfigResource(ResourceType.TOPIC, name)
    configs = admin.describe_configs([resource])[resource].result(SECONDS)
    assert configs["retention.ms"].value == "3600000" and not configs["retention.ms"].is_default
    assert configs["cleanup.policy"].value == "delete"

    described = admin.describe_cluster().result(SECONDS)
    assert len(described.nodes) == 3 and described.controller is not None

    admin.delete_topics([name])[name].result(SECONDS)
    until(lambda: name not in admin.list_topics(timeout=SECONDS).topics, "the deleted topic is gone")


def test_a_topic_created_again_shows_no_old_records(cluster):
    admin = AdminClient({"bootstrap.servers": cluster.bootstrap})
    name = f"again-{uuid.uuid4().hex[:8]}"
    for round_ in range(3):
        admin.create_topics([NewTopic(name, 1, 1)])[name].result(SECONDS)
        [offset] = send(cluster, name, [f"round {round_}".encode()])
        assert offset == 0
        [message] = read(cluster, name, 1)
        assert message.value() == f"round {round_}".encode()
        admin.delete_topics([name])[name].result(SECONDS)


def test_a_consumer_waits_for_what_comes(cluster, topic):
    """A long poll ends when a record arrives, not when its time is over."""
    settings = {"bootstrap.servers": cluster.bootstrap, "group.id": "unused", "fetch.wait.max.ms": 15_000,
                "socket.timeout.ms": 60_000, "enable.auto.commit": False}
    reader = Consumer(settings)
    reader.assign([TopicPartition(topic, 0, 0)])
    assert reader.poll(1) is None
    sender = Producer({"bootstrap.servers": cluster.bootstrap})
    sender.produce(topic, "now", partition=0)
    assert sender.flush(10) == 0
    began = time.monotonic()
    message = reader.poll(14)
    assert message is not None and message.value() == b"now", f"nothing within {time.monotonic() - began:.1f} s"
    reader.close()
