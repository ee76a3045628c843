"""Tables about topics for `rgalign topics`: what is in them, and how far consumers are behind."""

from __future__ import annotations

from kafka import KafkaAdminClient, TopicPartition
from rich.table import Table

from deploy.log_reader import open_consumer, spans
from features.settings import Connections
from stream.topics import TOPICS


def listing(connections: Connections) -> Table:
    """Purpose, partitions and records (end minus start offset) of every topic of this deployment."""
    shown = Table("topic", "partitions", "records", "purpose", title_justify="left")
    consumer = open_consumer(connections)
    try:
        there = consumer.topics()
        for topic in TOPICS:
            name = connections.named(topic.name)
            if name not in there:
                shown.add_row(name, "-", "missing", "run `rgalign topics create`")
                continue
            window = spans(consumer, name)
            records = sum(end - start for start, end in window.values())
            shown.add_row(name, str(len(window)), f"{records:,}", topic.purpose)
    finally:
        consumer.close()
    return shown


def group_lags(connections: Connections) -> dict[tuple[str, TopicPartition], int]:
    """Records between a group's committed offset and the end, by (group, partition), for this deployment's groups."""
    admin = KafkaAdminClient(bootstrap_servers=connections.kafka_url)
    consumer = open_consumer(connections)
    try:
        groups = [row["group_id"] for row in admin.list_groups() if row["group_id"].startswith(connections.named(""))]
        lags: dict[tuple[str, TopicPartition], int] = {}
        for group in groups:
            committed = admin.list_group_offsets(group)[group]
            ends = consumer.end_offsets(list(committed))
            lags |= {(group, p): ends[p] - offset.offset for p, offset in committed.items()}
        return lags
    finally:
        consumer.close()
        admin.close()


def lag(connections: Connections) -> Table:
    """Consumer groups and how many records each is behind, by topic."""
    shown = Table("group", "topic", "partition", "behind", title_justify="left")
    for (group, partition), behind in sorted(group_lags(connections).items()):
        shown.add_row(group, partition.topic, str(partition.partition), f"{behind:,}")
    return shown
