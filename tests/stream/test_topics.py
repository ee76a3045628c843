"""Topics are created as asked for, once, or the difference is told."""

from __future__ import annotations

import pytest
from kafka import KafkaAdminClient
from kafka.errors import InvalidReplicationFactorError

from features.settings import Connections
from stream.topics import KB, TOPICS, WrongPartitionCount, create, partition_counts


def test_missing_topics_are_created_and_a_second_call_finds_them(connections: Connections) -> None:
    assert create(connections, partitions=2) == [connections.named(topic.name) for topic in TOPICS]
    assert create(connections, partitions=2) == []
    admin = KafkaAdminClient(bootstrap_servers=connections.kafka_url)
    counts = partition_counts(admin, [connections.named(topic.name) for topic in TOPICS])
    admin.close()
    assert counts == {connections.named(topic.name): 2 if topic.keyed else 1 for topic in TOPICS}


def test_a_topic_that_was_deleted_is_created_again_beside_the_others(connections: Connections) -> None:
    create(connections)
    gone = connections.named(KB.name)
    admin = KafkaAdminClient(bootstrap_servers=connections.kafka_url)
    admin.delete_topics([gone])
    admin.close()
    assert create(connections) == [gone]


def test_another_partition_count_is_refused_with_what_to_do(connections: Connections) -> None:
    create(connections, partitions=2)
    with pytest.raises(WrongPartitionCount, match=r"has 2 partitions, expected 3.*run with --partitions 2"):
        create(connections, partitions=3)


def test_more_copies_than_brokers_is_the_brokers_own_refusal(connections: Connections) -> None:
    with pytest.raises(InvalidReplicationFactorError, match="was not created"):
        create(connections, replication=3)
