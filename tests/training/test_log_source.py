"""Spans of a real log are exact, and what is gone is said, never skipped."""

import time

import pytest
from aiokafka import AIOKafkaProducer
from kafka import KafkaAdminClient, KafkaProducer, TopicPartition

from stream.topics import EVENTS
from training.log_files import ReplayError
from training.log_source import opened
from training.window import Window

START_MS = int(time.time() * 1000) - 3_600_000
"""An hour ago: a real broker deletes records that are older than their topic's retention."""


def send(connections, count, partition=0):
    producer = KafkaProducer(bootstrap_servers=connections.kafka_url)
    for number in range(count):
        at_ms = START_MS + number * 1000
        producer.send(connections.named(EVENTS.name), b"%d" % number, partition=partition, timestamp_ms=at_ms)
    producer.flush(10)
    producer.close()


def forget(connections, before):
    admin = KafkaAdminClient(bootstrap_servers=connections.kafka_url)
    admin.delete_records({TopicPartition(connections.named(EVENTS.name), 0): before})
    admin.close()


def numbers(source, span, moved=lambda count: None):
    return [int(record.value) for record in source.records("events", 0, span, moved)]


def test_a_window_by_time_begins_at_its_first_record_and_ends_before_the_next(topics):
    send(topics, 6)
    with opened(topics, 10) as source:
        assert source.spans("events", Window(START_MS + 1500, START_MS + 4000))[0] == (2, 4)
        assert source.spans("events", Window(until_ms=START_MS + 4000))[0] == (0, 4)
        assert source.spans("events", Window(since_ms=START_MS + 9000))[0] == (6, 6)
        assert numbers(source, (2, 4)) == [2, 3]


def test_records_that_retention_deleted_are_named(topics):
    send(topics, 6)
    forget(topics, 4)
    with opened(topics, 10) as source:
        with pytest.raises(ReplayError, match=r"holds offsets 4 to 6, but 0 to 6 were asked"):
            source.spans("events", Window(offsets={"events": {0: (0, 6)}}))
        with pytest.raises(ReplayError, match="holds nothing from before"):
            source.spans("events", Window(until_ms=START_MS + 2000))
        with pytest.raises(ReplayError, match=r"\[0\]@1 is gone: retention deleted it while"):
            numbers(source, (1, 6))
        assert source.spans("events", Window(since_ms=START_MS))[0] == (4, 6)


def test_a_partition_that_is_not_there_is_named(topics):
    with opened(topics, 10) as source, pytest.raises(ReplayError, match=r"has partitions 0 to 3, but offsets of \[7\]"):
        source.spans("events", Window(offsets={"events": {7: (0, 1)}}))


async def test_transaction_marks_are_passed_over_and_aborted_records_left_out(topics):
    name = topics.named(EVENTS.name)
    async with AIOKafkaProducer(bootstrap_servers=topics.kafka_url, transactional_id=name) as producer:
        async with producer.transaction():
            await producer.send(name, b"1", partition=0)
        await producer.begin_transaction()
        await producer.send_and_wait(name, b"2", partition=0)
        await producer.abort_transaction()
    with opened(topics, 10) as source:
        passed = []
        assert source.spans("events", Window())[0] == (0, 4)
        assert numbers(source, (0, 4), passed.append) == [1]
        assert sum(passed) == 4
