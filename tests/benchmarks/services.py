"""What the arms stand on: one Kafka and one Valkey of our own, and topics filled with the same bytes for all."""

from __future__ import annotations

import asyncio
import contextlib
import tempfile
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from aiokafka import AIOKafkaProducer

from deploy.embedded import Embedded
from features.settings import Connections
from stream import topics

PARTITIONS = 4
REPORT_EVERY = 5_000


@dataclass(frozen=True, slots=True)
class Services:
    """Where they are, and their process ids, so that their share of the work is counted too."""

    kafka_url: str
    redis_url: str
    kafka_pid: int
    redis_pid: int
    registry: Path

    def connections(self, prefix: str, store: int = 0) -> Connections:
        """A deployment: its topics by `prefix`, its state in database `store` of the Valkey."""
        return Connections(
            kafka_url=self.kafka_url,
            redis_url=f"{self.redis_url.rsplit('/', 1)[0]}/{store}",
            prefix=prefix,
            registry=self.registry,
        )


@contextlib.contextmanager
def started() -> Iterator[Services]:
    """Fresh services that are gone afterwards."""
    with tempfile.TemporaryDirectory(prefix="rgalign-bench-") as folder, Embedded().start() as running:
        pids = (running.supervisor.pid("kafka"), running.supervisor.pid("redis"))
        yield Services(running.kafka_url, running.redis_url, *pids, Path(folder) / "registry")


def fill(
    connections: Connections, records: Iterable[tuple[bytes, bytes]], advance: Callable[[int], None] = lambda _: None
) -> int:
    """Creates a deployment's topics and appends the records to its event topic; returns how many."""
    topics.create(connections, PARTITIONS)
    return asyncio.run(_fill(connections, records, advance))


async def _fill(
    connections: Connections, records: Iterable[tuple[bytes, bytes]], advance: Callable[[int], None]
) -> int:
    topic, count = connections.named(topics.EVENTS.name), 0
    producer = AIOKafkaProducer(
        bootstrap_servers=connections.kafka_url, acks="all", linger_ms=20, max_batch_size=256 * 1024
    )
    async with producer:
        for key, value in records:
            await producer.send(topic, value, key=key)
            count += 1
            if count % REPORT_EVERY == 0:
                advance(count)
    advance(count)
    return count
