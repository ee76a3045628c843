"""What a worker or an embedder says to the rest of the system about users, by one idempotent producer."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from functools import partial
from typing import Any, Self

import structlog
from aiokafka import AIOKafkaProducer
from aiokafka.errors import KafkaError

from features.decisions import Decision
from features.kafka_client import aiokafka_arguments
from features.notices import QueryRefreshed, QueryRequested
from features.settings import Connections
from stream import tracing
from stream.connecting import started
from stream.telemetry import INTERRUPTED

log = structlog.get_logger(__name__)

Message = Decision | QueryRequested | QueryRefreshed

LINGER_MS = 2
BATCH_BYTES = 256 * 1024
MAX_RECORD_BYTES = 2 * 1024 * 1024 + 64 * 1024
"""The largest record the producer takes: a dead letter of 2 MiB with its headers."""


class PartitionsDiffer(RuntimeError):
    """Topics that share their users' partitions have different numbers of them."""


class Outbox:
    """Appends messages under their own keys, so that a user's decisions stay in one partition and in order."""

    def __init__(self, connections: Connections) -> None:
        self._connections = connections
        self.producer: Any = AIOKafkaProducer(
            **aiokafka_arguments(connections),
            acks="all",
            enable_idempotence=True,
            linger_ms=LINGER_MS,
            max_batch_size=BATCH_BYTES,
            max_request_size=MAX_RECORD_BYTES,
        )
        self._waiting: set[asyncio.Future[Any]] = set()

    async def __aenter__(self) -> Self:
        await started(self.producer, self._connections)
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.producer.stop()

    async def agree(self, topics: Sequence[str]) -> None:
        """Raises `PartitionsDiffer` unless all `topics` have the same number of partitions."""
        found = {topic: len(await self.producer.partitions_for(topic)) for topic in topics}
        if len(set(found.values())) != 1:
            raise PartitionsDiffer(
                f"found partitions {found}; expected the same number for all, since a user's state, feedback and "
                "decisions share one partition number: create the topics anew with `rgalign topics create`"
            )

    async def send(self, topic: str, partition: int, messages: Sequence[Message]) -> None:
        """Appends messages to the partition that their users have in every topic; who is not acknowledged is counted.

        Nobody waits for an acknowledgement: decisions are perishable. A batch waits for the one before it to be sent,
        so what a broker's absence piles up is bounded.
        """
        left = list(messages)
        while left:
            builder, size = self.producer.create_batch(), 0
            while size < len(left) and _append(builder, left[size]):
                size += 1
            try:
                sent = await self.producer.send_batch(builder, topic, partition=partition)
            except KafkaError as error:
                self._lost(topic, size, error)
            else:
                self._waiting.add(sent)
                sent.add_done_callback(partial(self._ended, topic, size))
            left = left[size:]

    async def settled(self) -> None:
        """Returns when everything handed over so far is acknowledged or lost."""
        if self._waiting:
            await asyncio.wait(set(self._waiting))

    def _ended(self, topic: str, messages: int, sent: asyncio.Future[Any]) -> None:
        self._waiting.discard(sent)
        if not sent.cancelled() and (error := sent.exception()) is not None:
            self._lost(topic, messages, error)

    def _lost(self, topic: str, messages: int, error: BaseException) -> None:
        INTERRUPTED.labels(topic=topic).inc(messages)
        log.warning("messages_lost", topic=topic, messages=messages, error=str(error) or type(error).__name__)


def _append(builder: Any, message: Message) -> bool:
    """Whether a message found room; the first of a batch always does."""
    headers = tracing.decided(message) if isinstance(message, Decision) else ()
    put = builder.append(timestamp=None, key=message.key.encode(), value=message.to_json(), headers=list(headers))
    return put is not None
