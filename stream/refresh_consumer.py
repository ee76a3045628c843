"""Reading the requests for latent queries: the embedders share the topic's partitions as one consumer group."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from typing import Any

from aiokafka import AIOKafkaConsumer, ConsumerRebalanceListener, TopicPartition

from features.kafka_client import aiokafka_arguments
from features.settings import Connections
from stream import topics
from stream.connecting import started
from stream.settings import EMBEDDER_GROUP

STOP_DEADLINE_S = 5.0
GATHER_MS, GATHER_BYTES = 100, 1024 * 1024
"""The broker answers a fetch when so much is there, and after so long with what there is: under load a fetch costs more
than the request that it brings."""

Forget = Callable[[set[TopicPartition]], None]
"""Takes the partitions that are taken away."""


@contextlib.asynccontextmanager
async def reading_requests(connections: Connections, forget: Forget) -> AsyncIterator[Any]:
    """A started consumer of the requests, from where the group's commits end; it leaves the group at the end."""
    consumer: Any = AIOKafkaConsumer(
        **aiokafka_arguments(connections),
        group_id=connections.named(EMBEDDER_GROUP),
        auto_offset_reset="earliest",
        enable_auto_commit=False,
        fetch_min_bytes=GATHER_BYTES,
        fetch_max_wait_ms=GATHER_MS,
        session_timeout_ms=10_000,
        heartbeat_interval_ms=2_000,
    )
    consumer.subscribe([connections.named(topics.QUERIES.name)], listener=_Revoked(forget))
    await started(consumer, connections)
    try:
        yield consumer
    finally:
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(consumer.stop(), timeout=STOP_DEADLINE_S)


class _Revoked(ConsumerRebalanceListener):  # type: ignore[misc]
    """Tells the line of partitions that are taken away."""

    def __init__(self, forget: Forget) -> None:
        self._forget = forget

    def on_partitions_revoked(self, revoked: set[TopicPartition]) -> None:
        self._forget(revoked)

    def on_partitions_assigned(self, assigned: set[TopicPartition]) -> None:
        """Nothing to do: reading goes on from the committed offset."""
