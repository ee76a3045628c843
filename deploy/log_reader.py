"""Reading a whole topic from outside the stream: an independent kafka-python consumer, from start to end."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from kafka import KafkaConsumer, TopicPartition

from features.kafka_client import open_kafka
from features.settings import Connections

BOOTSTRAP_MS = 5000
POLL_MS = 1000
MAX_EMPTY_POLLS = 10


def open_consumer(connections: Connections) -> KafkaConsumer:
    """A consumer outside every group that commits nothing. Raises ConnectionError or `AccessRefused`: what to set."""
    from kafka.errors import KafkaError

    try:
        return open_kafka(
            KafkaConsumer,
            connections,
            bootstrap_timeout_ms=BOOTSTRAP_MS,
            enable_auto_commit=False,
            auto_offset_reset="earliest",
        )
    except KafkaError as error:
        raise ConnectionError(
            f"no Kafka answers at {connections.kafka_url} ({error}): set KAFKA_URL, or start one with `rgalign dev up`"
        ) from error


def spans(consumer: KafkaConsumer, topic: str) -> dict[TopicPartition, tuple[int, int]]:
    """Start and end offset of each partition. Raises FileNotFoundError for a topic that is not there."""
    partitions = [TopicPartition(topic, p) for p in sorted(consumer.partitions_for_topic(topic) or ())]
    if not partitions:
        raise FileNotFoundError(f"no topic {topic}: create the topics with `rgalign topics create`")
    starts, ends = consumer.beginning_offsets(partitions), consumer.end_offsets(partitions)
    return {p: (starts[p], ends[p]) for p in partitions}


def read(consumer: KafkaConsumer, window: Mapping[TopicPartition, tuple[int, int]]) -> Iterator[Any]:
    """The records of a window of offsets. Raises TimeoutError when the broker stops answering."""
    consumer.assign(list(window))
    for partition, (start, _) in window.items():
        consumer.seek(partition, start)
    left = {p for p, (start, end) in window.items() if end > start}
    empty = 0
    while left:
        batch = consumer.poll(timeout_ms=POLL_MS)
        empty = 0 if batch else empty + 1
        if empty > MAX_EMPTY_POLLS:
            raise TimeoutError(f"no records for {MAX_EMPTY_POLLS * POLL_MS / 1000:.0f} s; still unread: {left}")
        for partition, records in batch.items():
            yield from (record for record in records if record.offset < window[partition][1])
        left = {p for p in left if consumer.position(p) < window[p][1]}


def whole_topic(connections: Connections, topic: str) -> list[Any]:
    """Every record of a topic, as it is now."""
    consumer = open_consumer(connections)
    try:
        return list(read(consumer, spans(consumer, connections.named(topic))))
    finally:
        consumer.close()
