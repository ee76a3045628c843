"""Tells the workers whose latent queries were refreshed, so that what was shown without them is ranked again."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import structlog
from aiokafka.errors import KafkaError

from features.contract import from_ms
from features.notices import QueryRefreshed
from stream.outbox import Outbox
from stream.query_spaces import Space
from stream.refresh_queue import Refresh

log = structlog.get_logger(__name__)

DEADLINE_S = 1.0
"""How long the embedder waits for Kafka: news that come later are of no use."""


class Announcer:
    """Writes to the topic of refreshed queries, into the partition that a user has on every topic."""

    def __init__(self, outbox: Outbox, topic: str) -> None:
        self._outbox, self._topic = outbox, topic

    async def tell(self, space: Space, refreshed: Sequence[Refresh], at_ms: int) -> None:
        """Tells of those for whom a decision was made without their query; nobody else has a use for it."""
        by_partition: dict[int, list[QueryRefreshed]] = {}
        for refresh in refreshed:
            if refresh.request.is_trigger:
                by_partition.setdefault(refresh.place[1], []).append(_message(space, refresh, at_ms))
        for partition, messages in by_partition.items():
            try:
                await asyncio.wait_for(self._outbox.send(self._topic, partition, messages), DEADLINE_S)
            except (KafkaError, TimeoutError) as error:
                log.warning("refresh_not_announced", messages=len(messages), error=str(error) or type(error).__name__)


def _message(space: Space, refresh: Refresh, at_ms: int) -> QueryRefreshed:
    asked = refresh.request
    return QueryRefreshed(
        tenant=asked.tenant,
        user=asked.user,
        space_id=space.space_id,
        state_hash=asked.state_hash,
        time=from_ms(at_ms),
        origin=asked.origin,
    )
