"""What is in each topic, as a table for `rgalign topics list`."""

from __future__ import annotations

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
