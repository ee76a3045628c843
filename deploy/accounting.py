"""Closing the books: what the log holds against what the ledger says became of it.

The log is read by an independent consumer (kafka-python, from the first offset to the end), so that a fault
of the stream cannot hide itself. The books close when every record between start and end offsets is counted
exactly once, and every id that a producer was told is safe stands in the log.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Collection, Mapping
from dataclasses import dataclass

from deploy.log_reader import open_consumer, read, spans
from features.ledger import Counts
from features.settings import Connections


@dataclass(frozen=True, slots=True)
class Log:
    """What an independent reader found: records by offset span, and how often each event id occurs."""

    records: int
    ids: Mapping[str, int]


@dataclass(frozen=True, slots=True)
class Books:
    """The two sides of the account."""

    events_in: int
    counts: Counts
    acked_not_in_log: int

    @property
    def difference(self) -> int:
        """Records in the log less records accounted for; 0 when the books close."""
        counted = self.counts.applied + self.counts.late + self.counts.duplicate + self.counts.dead_lettered
        return self.events_in - counted

    @property
    def is_closed(self) -> bool:
        """Whether every record is accounted for once and every acknowledged id is in the log."""
        return self.difference == 0 and self.acked_not_in_log == 0

    def explain(self) -> str:
        """One line for a person."""
        if self.is_closed:
            return f"closed: {self.events_in} records in the log, each accounted for once, no acknowledged id missing"
        found = []
        if self.difference:
            what = "were lost" if self.difference > 0 else "were counted twice"
            found.append(f"{abs(self.difference)} records {what}")
        if self.acked_not_in_log:
            found.append(f"{self.acked_not_in_log} acknowledged ids are not in the log")
        return f"NOT closed: {'; '.join(found)}"


def close(log: Log, counts: Counts, acked: Collection[str]) -> Books:
    """Compares the log with the ledger's counts and with the ids acknowledged to producers."""
    missing = sum(1 for event_id in acked if event_id not in log.ids)
    return Books(events_in=log.records, counts=counts, acked_not_in_log=missing)


def read_log(connections: Connections, topic: str) -> Log:
    """Every record of `topic` from its first to its present end offset."""
    consumer = open_consumer(connections)
    try:
        window = spans(consumer, connections.named(topic))
        ids: Counter[str] = Counter()
        for record in read(consumer, window):
            ids.update(_event_id(record.value or b""))
        return Log(records=sum(end - start for start, end in window.values()), ids=ids)
    finally:
        consumer.close()


def _event_id(value: bytes) -> list[str]:
    """The event's id, or nothing for a record that is not an event."""
    try:
        event = json.loads(value)
    except (ValueError, RecursionError):
        return []
    found = event.get("id") if isinstance(event, dict) else None
    return [found] if isinstance(found, str) else []
