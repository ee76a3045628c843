"""How far each consumer group is behind the end of its topics: by Kafka's offsets, and by the ledger, the truth."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import groupby
from typing import Any

from kafka import KafkaAdminClient, KafkaConsumer, TopicPartition
from redis.exceptions import RedisError
from rich.box import SIMPLE_HEAD
from rich.markup import escape
from rich.table import Table

from deploy.log_reader import open_consumer, spans
from features.kafka_client import open_kafka
from features.ledger import Ledger
from features.redis_client import open_redis
from features.settings import Connections
from stream.settings import EMBEDDER_GROUP, GROUP
from stream.topics import EVENTS, OUTCOMES, QUERIES

READERS = {GROUP: (EVENTS, OUTCOMES), EMBEDDER_GROUP: (QUERIES,)}
"""The topics that each group reads."""

NEXT_RECORDS_DEADLINE_S = 3.0
POLL_MS = 250


@dataclass(frozen=True, slots=True)
class Position:
    """Where a group stands in a partition. Offsets are of the next record; `seconds` is the age of that record.

    `committed` is what the group told Kafka; `ledger` is what has taken effect, for a group that keeps a ledger.
    """

    group: str
    topic: str
    partition: int
    start: int
    end: int
    committed: int | None = None
    ledger: int | None = None
    seconds: float | None = None

    @property
    def next(self) -> int:
        """The next record to have its effect: by the ledger, or by Kafka's offset where there is none."""
        known = self.committed if self.ledger is None else self.ledger
        return max(self.start if known is None else known, self.start)

    @property
    def behind(self) -> int:
        """Records in the log that have not had their effect."""
        return max(self.end - self.next, 0)


@dataclass(frozen=True, slots=True)
class Report:
    """All positions, and why the ledger could not be read, if so."""

    positions: Sequence[Position]
    ledger_error: str | None = None

    @property
    def behind(self) -> int:
        """Records behind, of all groups."""
        return sum(position.behind for position in self.positions)

    @property
    def seconds(self) -> float:
        """The age of the oldest record that waits; 0 when none does."""
        return max((position.seconds or 0.0 for position in self.positions), default=0.0)

    def told(self) -> dict[str, Any]:
        """The report as JSON has it."""
        rows = [{**asdict(position), "behind": position.behind} for position in self.positions]
        return {
            "behind": self.behind,
            "seconds": self.seconds,
            "ledger_error": self.ledger_error,
            "positions": rows,
        }


def lag(connections: Connections) -> Report:
    """Reads every position now. Raises ConnectionError without Kafka, FileNotFoundError without its topics."""
    consumer = open_consumer(connections)
    try:
        committed = _committed(connections)
        found = [
            Position(group, p.topic, p.partition, start, end, committed[group].get(p))
            for group, topics in READERS.items()
            for topic in topics
            for p, (start, end) in spans(consumer, connections.named(topic.name)).items()
        ]
        applied, error = _ledger(connections, found)
        found = [_moved(position, ledger=applied.get(_at(position))) for position in found]
        ages = _ages(consumer, {_at(p): p.next for p in found if p.behind})
        return Report([_moved(position, seconds=ages.get(_at(position))) for position in found], error)
    finally:
        consumer.close()


def _at(position: Position) -> TopicPartition:
    return TopicPartition(position.topic, position.partition)


def _moved(position: Position, **changes: Any) -> Position:
    return Position(**{**asdict(position), **changes})


def _committed(connections: Connections) -> dict[str, dict[TopicPartition, int]]:
    """The committed offsets of each group; a group that has not committed has none."""
    admin = open_kafka(KafkaAdminClient, connections)
    try:
        known = {row["group_id"] for row in admin.list_groups()}
        offsets: dict[str, dict[TopicPartition, int]] = {group: {} for group in READERS}
        for group in READERS:
            if (name := connections.named(group)) in known:
                offsets[group] = {p: found.offset for p, found in admin.list_group_offsets(name)[name].items()}
        return offsets
    finally:
        admin.close()


def _ledger(connections: Connections, positions: Iterable[Position]) -> tuple[Mapping[TopicPartition, int], str | None]:
    """The next offset to be applied of each partition that has a ledger; nothing, and why, when Redis is away."""

    async def read() -> dict[TopicPartition, int]:
        async with open_redis(connections) as redis:
            return {
                _at(p): await Ledger(redis, p.topic, connections.prefix).applied(p.partition) + 1
                for p in positions
                if p.group == GROUP
            }

    try:
        return asyncio.run(read()), None
    except (RedisError, OSError) as error:
        return {}, f"the ledger was not read, offsets are Kafka's: {error}; check REDIS_URL"


def _ages(consumer: KafkaConsumer, offsets: Mapping[TopicPartition, int]) -> dict[TopicPartition, float]:
    """The age in seconds of the record at each offset, as far as they come within the deadline."""
    ages: dict[TopicPartition, float] = {}
    give_up_s = time.monotonic() + NEXT_RECORDS_DEADLINE_S
    consumer.assign(list(offsets))
    for partition, offset in offsets.items():
        consumer.seek(partition, offset)
    while len(ages) < len(offsets) and time.monotonic() < give_up_s:
        for partition, records in consumer.poll(timeout_ms=POLL_MS).items():
            ages.setdefault(partition, max(time.time() - records[0].timestamp / 1000, 0.0))
            consumer.pause(partition)
    return ages


def table(report: Report) -> Table:
    """The report for a person, group by group; offsets are of the next record."""
    shown = Table(box=SIMPLE_HEAD, show_footer=True, pad_edge=False, caption=report.ledger_error)
    total = ("total", "", "", "", f"{report.behind:,}", _age(report.seconds if report.behind else None))
    for name, footer in zip(("", "committed", "ledger", "end", "behind", "for"), total, strict=True):
        shown.add_column(name, footer, justify="right" if name else "left", overflow="fold")
    for group, positions in groupby(report.positions, key=lambda position: position.group):
        shown.add_section()
        shown.add_row(f"[bold]{group}[/bold]")
        for p in positions:
            offsets = (_offset(p.committed), _offset(p.ledger), _offset(p.end), f"{p.behind:,}")
            where = escape(f"  {p.topic}[{p.partition}]")
            shown.add_row(where, *offsets, _age(p.seconds), style="yellow" if p.behind else None)
    return shown


def _offset(offset: int | None) -> str:
    return "-" if offset is None else f"{offset:,}"


def _age(seconds: float | None) -> str:
    """A time for a person.

    >>> _age(None), _age(2.34), _age(7200)
    ('-', '2.3 s', '2.0 h')
    """
    if seconds is None:
        return "-"
    return f"{seconds:.1f} s" if seconds < 600 else f"{seconds / 3600:.1f} h"
