"""What a worker says to the rest of the system: decisions and query requests, by one idempotent producer."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Sequence
from typing import Any, Self

import structlog
from aiokafka import AIOKafkaProducer
from aiokafka.errors import KafkaError

from features.events import Decision, QueryRequested
from features.kafka_client import aiokafka_arguments
from features.settings import Connections
from stream import tracing
from stream.connecting import started

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

    async def __aenter__(self) -> Self:
        await started(self.producer, self._connections)
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.producer.stop()

    async def send(self, topic: str, messages: Iterable[Decision | QueryRequested]) -> list[asyncio.Future[Any]]:
        """Hands messages to the producer; each future is its acknowledgement."""
        sent = []
        for message in messages:
            try:
                sent.append(await self._append(topic, message))
            except KafkaError as error:
                failed: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
                failed.set_exception(error)
                sent.append(failed)
        return sent

    async def _append(self, topic: str, message: Decision | QueryRequested) -> asyncio.Future[Any]:
        headers = tracing.decided(message) if isinstance(message, Decision) else ()
        future: asyncio.Future[Any] = await self.producer.send(
            topic, message.to_json(), key=message.key.encode(), headers=headers
        )
        return future

    async def lost(self, sent: Sequence[asyncio.Future[Any]]) -> int:
        """Waits for all acknowledgements; how many messages were not acknowledged."""
        ends = await asyncio.gather(*sent, return_exceptions=True)
        errors = [end for end in ends if isinstance(end, BaseException)]
        for error in errors[:1]:
            log.warning("messages_lost", count=len(errors), error=str(error) or type(error).__name__)
        return len(errors)
