"""Starting a client whose service may not answer yet: a role waits a while, but not where it is not let in."""

from __future__ import annotations

import asyncio
import time
from typing import Any

import structlog
from aiokafka.errors import KafkaConnectionError

from features import kafka_access, redis_access
from features.kafka_client import aiokafka_arguments
from features.settings import Connections

log = structlog.get_logger(__name__)

PATIENCE_S = 30.0
RETRY_S = 0.5


async def let_in(connections: Connections) -> None:
    """Raises `AccessRefused` when Kafka or Redis answers and does not let us in; one that is away may come."""
    await kafka_access.is_admitted(aiokafka_arguments(connections))
    await redis_access.is_admitted(connections)


async def started(client: Any, connections: Connections, patience_s: float = PATIENCE_S) -> Any:
    """Starts an aiokafka producer or consumer and returns it, trying again while no broker answers.

    Raises KafkaConnectionError after `patience_s`, and `AccessRefused` at once: the role exits, to be started again.
    """
    give_up_s = time.monotonic() + patience_s
    try:
        while True:
            if await _is_started(client, connections, give_up_s):
                return client
            await asyncio.sleep(RETRY_S)
    except BaseException:
        await client.stop()
        raise


async def _is_started(client: Any, connections: Connections, give_up_s: float) -> bool:
    try:
        await client.start()
    except KafkaConnectionError as error:
        await kafka_access.is_admitted(aiokafka_arguments(connections))
        if time.monotonic() + RETRY_S > give_up_s:
            raise
        log.warning("kafka_away", error=str(error), retry_in_s=RETRY_S)
        return False
    return True
