"""What a worker says to the rest of the system: decisions and query requests, by one idempotent producer."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from functools import partial
from typing import Any, Self

import structlog
from aiokafka import AIOKafkaProducer
from aiokafka.errors import KafkaError

from features.events import Decision, QueryRequested
from features.kafka_client import aiokafka_arguments
from features.settings import Connections
from stream import tracing
from stream.connecting import started
from stream.telemetry import INTERRUPTED

log = structlog.get_logger(__name__)

LINGER_MS = 2
MAX_RECORD_BYTES = 2 * 1024 * 1024 + 64 * 1024
"""The largest record the producer takes: a dead letter of 2 MiB with its headers."""


class Outbox:
    """Appends messages under their own keys, so that a user's decisions stay in one partition and in order."""

    def __init__(self, connections: Connections) -> None:
        self._connections = connections
        self.producer: Any = AIOKafkaProducer(
            **aiokafka_arguments(connections),
            acks="all",
            enable_idempotence=True,
            linger_ms=LINGER_MS,
            max_request_size=MAX_RECORD_BYTES,
        )
        self._waiting: set[asyncio.Future[Any]] = set()

    async def __aenter__(self) -> Self:
        await started(self.producer, self._connections)
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.producer.stop()

    async def send(self, topic: str, messages: Iterable[Decision | QueryRequested]) -> None:
        """Hands messages to the producer; what is not acknowledged in the end is counted.

        Nobody waits for an acknowledgement: decisions are perishable, and what a broker's absence piles up is bounded
        by the producer's own buffer, for which this waits.
        """
        for message in messages:
            try:
                sent = await self._append(topic, message)
            except KafkaError as error:
                self._lost(topic, error)
                continue
            self._waiting.add(sent)
            sent.add_done_callback(partial(self._ended, topic))

    async def settled(self) -> None:
        """Returns when everything handed over so far is acknowledged or lost."""
        if self._waiting:
            await asyncio.wait(set(self._waiting))

    async def _append(self, topic: str, message: Decision | QueryRequested) -> asyncio.Future[Any]:
        headers = tracing.decided(message) if isinstance(message, Decision) else ()
        future: asyncio.Future[Any] = await self.producer.send(
            topic, message.to_json(), key=message.key.encode(), headers=headers
        )
        return future

    def _ended(self, topic: str, sent: asyncio.Future[Any]) -> None:
        self._waiting.discard(sent)
        if not sent.cancelled() and (error := sent.exception()) is not None:
            self._lost(topic, error)

    def _lost(self, topic: str, error: BaseException) -> None:
        INTERRUPTED.labels(topic=topic).inc()
        log.warning("message_lost", topic=topic, error=str(error) or type(error).__name__)
