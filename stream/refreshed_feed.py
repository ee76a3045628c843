"""Reads the news of refreshed latent queries, of the partitions that this worker holds, from now on.

News are perishable: there is no group and no committed offset, and what a worker did not read in time is of no use.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

import structlog
from aiokafka import AIOKafkaConsumer, TopicPartition

from features.contract import InvalidEvent, origin, parse
from features.kafka_client import aiokafka_arguments
from features.notices import QueryRefreshed
from features.settings import Connections
from stream import topics
from stream.connecting import started

log = structlog.get_logger(__name__)

POLL_MS = 100
LOOK_EVERY_S = 0.5

Held = Callable[[], set[int]]
"""The partitions of events that this worker holds now."""


class RefreshedFeed:
    """Gives the news of held partitions to `take`, as they come."""

    def __init__(
        self, connections: Connections, held: Held, take: Callable[[Sequence[QueryRefreshed]], Awaitable[None]]
    ) -> None:
        self._connections, self._held, self._take = connections, held, take
        self._topic = connections.named(topics.REFRESHED.name)
        self._consumer: Any = AIOKafkaConsumer(
            **aiokafka_arguments(connections), group_id=None, auto_offset_reset="latest", enable_auto_commit=False
        )
        self._assigned: set[int] = set()

    async def run(self) -> None:
        """Reads until cancelled. Raises Kafka's error when no broker can be found, and the first error of `take`."""
        await started(self._consumer, self._connections)
        try:
            while True:
                self._follow(self._held())
                if not self._assigned:
                    await asyncio.sleep(LOOK_EVERY_S)
                    continue
                found = await self._consumer.getmany(timeout_ms=POLL_MS)
                news = [message for records in found.values() for record in records if (message := _read(record))]
                if news:
                    await self._take(news)
        finally:
            await self._consumer.stop()

    def _follow(self, held: set[int]) -> None:
        if held == self._assigned:
            return
        self._assigned = held
        if held:
            self._consumer.assign([TopicPartition(self._topic, number) for number in sorted(held)])
        else:
            self._consumer.unsubscribe()


def _read(record: Any) -> QueryRefreshed | None:
    try:
        return parse(QueryRefreshed, record.value or b"")
    except InvalidEvent as error:
        log.warning("news_unreadable", at=origin(record.topic, record.partition, record.offset), error=str(error))
        return None
