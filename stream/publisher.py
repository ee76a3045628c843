"""Writes to the log: acknowledged by all replicas or not at all, within a deadline, with bounded memory."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Sequence
from functools import partial

import structlog
from aiokafka import AIOKafkaProducer
from aiokafka.errors import KafkaError

from features.kafka_client import aiokafka_arguments
from features.settings import Connections
from stream import tracing
from stream.connecting import started

log = structlog.get_logger(__name__)

MAX_PENDING_RECORDS = 20_000
MAX_PENDING_BYTES = 64 * 1024 * 1024


class LogAway(RuntimeError):
    """Kafka cannot be reached, or more than the allowed number of records waits for it."""


class Publisher:
    """An idempotent producer (acks=all) that connects by itself, now or when Kafka comes back.

    A record that missed its deadline stays with the producer and may still reach the log later; until it is
    acknowledged it counts as pending, and a full house refuses new records at once.
    """

    def __init__(self, connections: Connections, deadline_s: float = 5.0) -> None:
        self._connections, self._deadline_s = connections, deadline_s
        self._producer: AIOKafkaProducer | None = None
        self._connecting: asyncio.Task[None] | None = None
        self._records = self._bytes = 0

    @property
    def pending_records(self) -> int:
        """Records given to the producer and not yet acknowledged."""
        return self._records

    def start(self) -> asyncio.Task[None]:
        """Begins to connect; needs a running event loop. The task raises `AccessRefused` if Kafka lets us not in."""
        self._connecting = asyncio.create_task(self._connect())
        return self._connecting

    async def stop(self, grace_s: float) -> None:
        """Flushes what is pending for at most `grace_s`, then lets go."""
        if self._connecting is not None:
            self._connecting.cancel()
            await asyncio.wait([self._connecting])
        if self._producer is not None:
            await _closed(self._producer, grace_s)
            self._producer = None

    async def _connect(self) -> None:
        while self._producer is None:
            producer = AIOKafkaProducer(
                **aiokafka_arguments(self._connections),
                acks="all",
                enable_idempotence=True,
                request_timeout_ms=10_000,
                max_batch_size=256 * 1024,
            )
            try:
                await started(producer, self._connections, patience_s=0.0)
                self._producer = producer
            except (KafkaError, OSError) as error:
                log.warning("kafka_away", kafka_url=self._connections.kafka_url, error=str(error))
                await asyncio.sleep(1.0)
            finally:
                if self._producer is not producer:
                    await _closed(producer, grace_s=1.0)

    async def answers(self, timeout_s: float = 2.0) -> bool:
        """Whether a broker answers a request for metadata now."""
        if self._producer is None:
            return False
        try:
            async with asyncio.timeout(timeout_s):
                await self._producer.client.fetch_all_metadata()
        except (KafkaError, TimeoutError, OSError):
            return False
        return True

    async def publish(
        self, topic: str, records: Sequence[tuple[bytes, bytes]], on_ack: Callable[[int], None]
    ) -> list[bool]:
        """Appends (key, value) records; returns which of them all replicas acknowledged within the deadline.

        `on_ack(index)` is called for each acknowledgement, also for one that comes after the deadline.
        Raises `LogAway` when none can be taken now.
        """
        producer, headers = self._admitted(records), tracing.outgoing()
        futures: list[asyncio.Future[object]] = []
        try:
            async with asyncio.timeout(self._deadline_s):
                for index, (key, value) in enumerate(records):
                    futures.append(await producer.send(topic, value, key, headers=headers))
                    futures[-1].add_done_callback(partial(self._settled, index, len(key) + len(value), on_ack))
                await asyncio.wait(futures)
        except TimeoutError:
            log.warning("acks_missed_deadline", topic=topic, records=len(records), deadline_s=self._deadline_s)
        except KafkaError as error:
            log.warning("publish_failed", topic=topic, records=len(records), error=str(error))
        finally:
            self._forget(records[len(futures) :])
        acked = [f.done() and not f.cancelled() and f.exception() is None for f in futures]
        return acked + [False] * (len(records) - len(futures))

    def _admitted(self, records: Sequence[tuple[bytes, bytes]]) -> AIOKafkaProducer:
        if self._producer is None:
            raise LogAway(f"no Kafka broker answers at {self._connections.kafka_url}")
        if self._records + len(records) > MAX_PENDING_RECORDS or self._bytes > MAX_PENDING_BYTES:
            raise LogAway(f"{self._records} records ({self._bytes} bytes) already wait for Kafka's acknowledgement")
        self._records += len(records)
        self._bytes += sum(len(key) + len(value) for key, value in records)
        return self._producer

    def _forget(self, records: Sequence[tuple[bytes, bytes]]) -> None:
        self._records -= len(records)
        self._bytes -= sum(len(key) + len(value) for key, value in records)

    def _settled(self, index: int, size: int, on_ack: Callable[[int], None], future: asyncio.Future[object]) -> None:
        self._records -= 1
        self._bytes -= size
        if not future.cancelled() and future.exception() is None:
            on_ack(index)


async def _closed(producer: AIOKafkaProducer, grace_s: float) -> None:
    with contextlib.suppress(TimeoutError, KafkaError):
        await asyncio.wait_for(producer.stop(), grace_s)
