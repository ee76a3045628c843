"""The live decisions: read from all partitions into a ring, and handed to the streams that wait for them."""

from __future__ import annotations

import asyncio
import time
from collections import defaultdict, deque
from collections.abc import Callable

import orjson
import structlog
from aiokafka import AIOKafkaConsumer, ConsumerRecord, TopicPartition
from aiokafka.errors import KafkaError

from features.contract import origin
from features.kafka_client import aiokafka_arguments
from features.settings import Connections
from stream import telemetry, tracing
from stream.connecting import started
from stream.decision_ring import DecisionRing, Entry, Missed, parse_cursor

log = structlog.get_logger(__name__)

POLL_MS = 500


class TooManyStreams(RuntimeError):
    """The gateway already serves as many streams as it is allowed to."""


class Subscription:
    """One stream's bounded queue. A client that lets it overflow is ended: memory is not lent to slow readers."""

    def __init__(self, backlog: Missed, max_queued: int, leave: Callable[[Subscription], None]) -> None:
        self.resumed, self.has_gap = len(backlog.entries), backlog.has_gap
        self.ended: str | None = None
        self._queue = deque(backlog.entries)
        self._room = max_queued + len(backlog.entries)
        self._wakeup = asyncio.Event()
        self._leave = leave

    def offer(self, entry: Entry) -> None:
        """Queues an entry, or ends the subscription as `slow` when there is no room."""
        if len(self._queue) >= self._room:
            self.end("slow")
        elif self.ended is None:
            self._queue.append(entry)
            self._wakeup.set()

    def end(self, reason: str) -> None:
        """Ends the stream after a farewell; what was queued for a slow client is dropped."""
        if self.ended is None:
            self.ended = reason
            self._queue.clear()
            self._leave(self)
            self._wakeup.set()
            telemetry.STREAMS_DROPPED.labels(reason=reason).inc()

    async def next(self, timeout_s: float) -> Entry | None:
        """The next entry; None when nothing came within `timeout_s` or the subscription has `ended`."""
        if not self._queue and self.ended is None:
            self._wakeup.clear()
            try:
                await asyncio.wait_for(self._wakeup.wait(), timeout_s)
            except TimeoutError:
                return None
        return self._queue.popleft() if self._queue else None

    def close(self) -> None:
        """Leaves the feed: the client has gone."""
        self._queue.clear()
        self._leave(self)


class DecisionFeed:
    """Reads the decision topic without a consumer group, so that every gateway sees every decision."""

    def __init__(
        self, connections: Connections, topic: str, ring: DecisionRing, retention_ms: int, max_streams: int
    ) -> None:
        self._connections, self._topic, self._retention_ms = connections, topic, retention_ms
        self._max_streams = max_streams
        self._next_offsets: dict[TopicPartition, int] = {}
        self._behind: dict[TopicPartition, int] | None = None
        self._subscribers: defaultdict[str, set[Subscription]] = defaultdict(set)
        self._count = 0
        self._is_closed = False
        self.ring = ring

    @property
    def is_caught_up(self) -> bool:
        """Whether the ring holds all that was in the log when the feed began."""
        return self._behind is not None and not self._behind

    def subscribe(self, key: str, cursor: str | None, max_queued: int) -> Subscription:
        """A subscription to the decisions of `key`, resumed after `cursor` if there is one.

        Raises `TooManyStreams`.
        """
        if self._count >= self._max_streams:
            raise TooManyStreams(f"{self._count} streams are open, which is the most this gateway serves")
        place = parse_cursor(cursor) if cursor else None
        missed = self.ring.missed(key, *place) if place else Missed([], has_gap=bool(cursor))
        subscription = Subscription(missed, max_queued, lambda gone: self._leave(key, gone))
        self._subscribers[key].add(subscription)
        self._count += 1
        telemetry.STREAMS.set(self._count)
        if self._is_closed:
            subscription.end("drain")
        return subscription

    def _leave(self, key: str, subscription: Subscription) -> None:
        of_user = self._subscribers.get(key, set())
        if subscription in of_user:
            of_user.discard(subscription)
            self._count -= 1
            telemetry.STREAMS.set(self._count)
        if not of_user:
            self._subscribers.pop(key, None)

    def close(self) -> None:
        """Ends every stream, present and to come, because the gateway drains."""
        self._is_closed = True
        for subscription in [s for of_user in self._subscribers.values() for s in of_user]:
            subscription.end("drain")

    async def run(self) -> None:
        """Follows the topic until cancelled; begins again where it was whenever Kafka comes back.

        Raises `AccessRefused` when Kafka does not let us in.
        """
        while True:
            consumer = AIOKafkaConsumer(
                self._topic,
                **aiokafka_arguments(self._connections),
                group_id=None,
                enable_auto_commit=False,
                auto_offset_reset="earliest",
                request_timeout_ms=10_000,
            )
            try:
                await started(consumer, self._connections, patience_s=0.0)
                await self._seek(consumer)
                await self._follow(consumer)
            except (KafkaError, OSError) as error:
                log.warning("decision_feed_interrupted", topic=self._topic, error=repr(error))
                await asyncio.sleep(1.0)
            finally:
                await consumer.stop()

    async def _seek(self, consumer: AIOKafkaConsumer) -> None:
        partitions = list(consumer.assignment())
        since_ms = int(time.time() * 1000) - self._retention_ms
        ends = await consumer.end_offsets(partitions)
        stamped = await consumer.offsets_for_times(dict.fromkeys(partitions, since_ms))
        for partition in partitions:
            found = stamped.get(partition)
            start = self._next_offsets.get(partition, found.offset if found else ends[partition])
            self._next_offsets[partition] = start
            self.ring.begin(partition.partition, start)
            consumer.seek(partition, start)
        if not self.is_caught_up:
            self._behind = {p: end for p, end in ends.items() if self._next_offsets[p] < end}

    async def _follow(self, consumer: AIOKafkaConsumer) -> None:
        while True:
            polled = await consumer.getmany(timeout_ms=POLL_MS)
            for partition, records in polled.items():
                for record in records:
                    self._take(record)
                self._next_offsets[partition] = records[-1].offset + 1
                if self._behind and self._next_offsets[partition] >= self._behind.get(partition, 0):
                    self._behind.pop(partition, None)
            self.ring.expire(int(time.time() * 1000))
            telemetry.FEED_DECISIONS.set(len(self.ring))

    def _take(self, record: ConsumerRecord) -> None:
        entry = _entry(record)
        if entry is None:
            log.warning("decision_unreadable", at=origin(record.topic, record.partition, record.offset))
            return
        if self.is_caught_up:
            telemetry.FEED_DELAY_SECONDS.observe(max(0.0, time.time() - entry.at_ms / 1000))
        self.ring.append(entry)
        for subscription in list(self._subscribers.get(entry.key, ())):
            subscription.offer(entry)


def _entry(record: ConsumerRecord) -> Entry | None:
    try:
        decision = orjson.loads(record.value or b"")
        key = f"{decision['tenant']}:{decision['user']}"
        decision_id, traceparent = decision["decision_id"], tracing.carried(record.headers)
        return Entry(record.partition, record.offset, key, decision_id, record.timestamp, record.value, traceparent)
    except (orjson.JSONDecodeError, KeyError, TypeError):
        return None
