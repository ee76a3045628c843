"""Starting a Kafka client whose broker may not answer yet: a role waits a while before it gives up."""

from __future__ import annotations

import asyncio
import time
from typing import Any

import structlog
from aiokafka.errors import KafkaConnectionError

log = structlog.get_logger(__name__)

PATIENCE_S = 30.0
RETRY_S = 0.5


async def started(client: Any, patience_s: float = PATIENCE_S) -> Any:
    """Starts an aiokafka producer or consumer and returns it, trying again while no broker answers.

    Raises KafkaConnectionError after `patience_s`: the role exits, to be started again.
    """
    give_up_s = time.monotonic() + patience_s
    while True:
        try:
            await client.start()
        except KafkaConnectionError as error:
            if time.monotonic() + RETRY_S > give_up_s:
                await client.stop()
                raise
            log.warning("kafka_away", error=str(error), retry_in_s=RETRY_S)
            await asyncio.sleep(RETRY_S)
        else:
            return client
