"""Follows a small compacted topic from its beginning: the knowledge base, the model releases."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

import structlog
from aiokafka import AIOKafkaConsumer

from features.kafka_client import aiokafka_arguments
from features.settings import Connections
from stream.connecting import started

log = structlog.get_logger(__name__)

Apply = Callable[[Sequence[Any]], Awaitable[None]]
"""Takes records (with key, value, offset) in order."""


class Follower:
    """Hands every record of a topic to `apply`, in order, from the beginning on; `caught_up` once it saw the end."""

    def __init__(self, connections: Connections, topic: str, apply: Apply) -> None:
        self._connections = connections
        self._topic = topic
        self._apply = apply
        self._consumer: Any = AIOKafkaConsumer(
            topic,
            **aiokafka_arguments(connections),
            group_id=None,
            auto_offset_reset="earliest",
            enable_auto_commit=False,
        )
        self.caught_up = asyncio.Event()

    async def run(self) -> None:
        """Follows until cancelled. Raises the first error of `apply`, and Kafka's when the broker cannot be found."""
        await started(self._consumer, self._connections)
        try:
            ends = await self._consumer.end_offsets(self._consumer.assignment())
            log.info("following", topic=self._topic, records_to_read=sum(ends.values()))
            await self._read_to(ends)
            self.caught_up.set()
            while True:
                await self._poll()
        finally:
            await self._consumer.stop()

    async def _read_to(self, ends: dict[Any, int]) -> None:
        records: list[Any] = []
        while any([await self._consumer.position(tp) < end for tp, end in ends.items()]):
            found = await self._consumer.getmany(timeout_ms=1000)
            records += [record for part in found.values() for record in part]
        if records:
            await self._apply(records)

    async def _poll(self) -> None:
        found = await self._consumer.getmany(timeout_ms=1000)
        for records in found.values():
            await self._apply(records)
