"""kafka-python, unchanged: a client with a codec of its own."""

import uuid

import pytest
from kafka import KafkaAdminClient, KafkaConsumer, KafkaProducer, TopicPartition
from kafka.admin import NewTopic

from conftest import until

SECONDS = 20


def servers(cluster):
    return cluster.bootstrap.split(",")


@pytest.mark.parametrize("codec", [None, "gzip", "snappy", "lz4", "zstd"])
@pytest.mark.parametrize("idempotent", [False, True])
def test_round_trip(cluster, topic, codec, idempotent):
    producer = KafkaProducer(
        bootstrap_servers=servers(cluster), acks="all", compression_type=codec, enable_idempotence=idempotent
    )
    futures = [producer.send(topic, f"value {i}".encode(), key=b"k", partition=2) for i in range(300)]
    offsets = [future.get(SECONDS).offset for future in futures]
    producer.close()
    assert offsets == list(range(300))

    consumer = KafkaConsumer(
        bootstrap_servers=servers(cluster), auto_offset_reset="earliest", consumer_timeout_ms=SECONDS * 1000
    )
    consumer.assign([TopicPartition(topic, 2)])
    consumer.seek_to_beginning()
    read = [next(consumer) for _ in range(300)]
    consumer.close()
    assert [r.value for r in read] == [f"value {i}".encode() for i in range(300)]
    assert [r.offset for r in read] == offsets


def test_offsets_and_admin(cluster):
    admin = KafkaAdminClient(bootstrap_servers=servers(cluster))
    name = f"kp-{uuid.uuid4().hex[:8]}"
    admin.create_topics([NewTopic(name, 2, 1)])
    until(lambda: name in admin.list_topics(), "the new topic is listed")
    producer = KafkaProducer(bootstrap_servers=servers(cluster))
    for i in range(5):
        producer.send(name, b"x", partition=1, timestamp_ms=1_700_000_000_000 + i).get(SECONDS)
    producer.close()
    consumer = KafkaConsumer(bootstrap_servers=servers(cluster))
    partition = TopicPartition(name, 1)
    assert consumer.beginning_offsets([partition]) == {partition: 0}
    assert consumer.end_offsets([partition]) == {partition: 5}
    assert consumer.offsets_for_times({partition: 1_700_000_000_003})[partition].offset == 3
    consumer.close()
    admin.delete_topics([name])
    until(lambda: name not in admin.list_topics(), "the deleted topic is gone")
    admin.close()
