"""The requests' way through an embedder: read from Kafka, queued, embedded, and committed once they had their effect.

Requests are read as fast as they come and wait in a bounded queue where the newest of a user wins. A Kafka offset is
committed only when its record and all before it had their effect. What failed waits longer from attempt to attempt.
"""

from __future__ import annotations

import asyncio
import contextlib
import sys
import time
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

import structlog
from aiokafka import TopicPartition
from aiokafka.errors import KafkaError
from redis.exceptions import RedisError

from features.contract import InvalidEvent, origin, parse
from features.notices import QueryRequested
from features.redis_access import raise_if_refused
from stream.embedding import Tally
from stream.refresh_queue import Place, Refresh, RefreshQueue
from stream.unfinished import Unfinished

log = structlog.get_logger(__name__)

COMMIT_EVERY_S = 1.0
RETRY_S = 0.5
RETRY_FIRST_MS = 1000
"""How long a request waits after its first failure; twice as long after each further one."""
CALL_DEADLINE_S = 5.0
GATHER_S = 0.2
"""A batch that is not full begins no sooner than this after the one before: a call for two costs little more than one,
and whoever asks after a pause waits for nobody."""

Process = Callable[[Sequence[Refresh]], Awaitable[Sequence[Refresh]]]
"""Serves requests; returns those to be tried again."""


class RefreshLine:
    """Three loops over one queue: `read`, `embed`, `commit`; `stop` ends the first, and the second when it is empty.

    `clock` gives the wall clock in ms.
    """

    def __init__(self, clock: Callable[[], int]) -> None:
        self.queue = RefreshQueue()
        self._clock = clock
        self.stopping = asyncio.Event()
        self.redis_answers = True
        self._arrived = asyncio.Event()
        self._unfinished = Unfinished()
        self._committed: dict[Place, int] = {}

    def stop(self) -> None:
        """Reads no more; what waits is still embedded."""
        self.stopping.set()
        self._arrived.set()

    def forget(self, revoked: set[TopicPartition]) -> None:
        """Drops what came from partitions that another embedder now reads."""
        places = {(tp.topic, tp.partition) for tp in revoked}
        self.queue.forget(places)
        self._unfinished.forget(places)
        for place in places:
            self._committed.pop(place, None)

    async def read(self, consumer: Any, tally: Tally) -> None:
        """Queues every request as it comes."""
        while not self.stopping.is_set():
            found = await consumer.getmany(timeout_ms=200, max_records=500)
            for tp, records in found.items():
                for record in records:
                    self._admit((tp.topic, tp.partition), record, tally)
            if found:
                self._arrived.set()

    def _admit(self, place: tuple[str, int], record: Any, tally: Tally) -> None:
        self._unfinished.begin(place, record.offset)
        try:
            request = parse(QueryRequested, record.value or b"")
        except InvalidEvent as error:
            log.error("request_unreadable", at=origin(*place, record.offset), error=str(error))
            tally.add("failed")
            self._unfinished.end(place, record.offset)
            return
        refresh = Refresh(request, place, record.offset, record.timestamp)
        self._gone(self.queue.put(refresh, self._clock()), refresh, tally)

    def _gone(self, gone: Sequence[Refresh], kept: Refresh, tally: Tally) -> None:
        for refresh in gone:
            tally.add("superseded" if refresh.request.key == kept.request.key else "dropped")
            self._unfinished.end(refresh.place, refresh.offset)

    async def embed(self, process: Process, most: int, tally: Tally) -> None:
        """Takes the most urgent requests in batches of up to `most`; once it is to stop, all that are left."""
        while len(self.queue) or not self.stopping.is_set():
            self._arrived.clear()
            batch = self.queue.take(most, sys.maxsize if self.stopping.is_set() else self._clock())
            if not batch:
                await self._until_one_is_due()
                continue
            began_s = time.monotonic()
            again = await self._until_stored(process, batch)
            self._settle(batch, again, tally)
            if len(batch) < most and not self.stopping.is_set():
                await asyncio.sleep(began_s + GATHER_S - time.monotonic())

    def _settle(self, batch: Sequence[Refresh], again: Sequence[Refresh], tally: Tally) -> None:
        """What was served is finished; what was not waits again, unless its user has asked anew."""
        for refresh in batch:
            if refresh in again:
                due_ms = self._clock() + (RETRY_FIRST_MS << refresh.attempts)
                self._gone(self.queue.put_back(refresh, due_ms), refresh, tally)
            else:
                self._unfinished.end(refresh.place, refresh.offset)

    async def _until_one_is_due(self) -> None:
        """Returns when a request may be taken, or when there is news."""
        due_ms = self.queue.next_due_ms
        wait_s = None if due_ms is None else max(due_ms - self._clock(), 1) / 1000
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._arrived.wait(), wait_s)

    async def _until_stored(self, process: Process, batch: list[Refresh]) -> Sequence[Refresh]:
        """Repeats the batch while Redis is away: what was asked for must not be lost, and may be late."""
        while True:
            try:
                again = await process(batch)
            except (RedisError, OSError) as error:
                raise_if_refused(error)
                log.warning("redis_away", error=str(error), waiting=len(self.queue) + len(batch))
                self.redis_answers = False
                await asyncio.sleep(RETRY_S)
            else:
                self.redis_answers = True
                return again

    def behind(self, consumer: Any) -> dict[Place, int]:
        """Requests of each partition in the log that had no effect yet, as far as the consumer's fetches saw."""
        found = {}
        for place, offset in self._unfinished.committable().items():
            if TopicPartition(*place) in consumer.assignment():
                found[place] = max((consumer.highwater(TopicPartition(*place)) or 0) - offset, 0)
        return found

    async def commit(self, consumer: Any) -> None:
        """Commits every `COMMIT_EVERY_S`."""
        while True:
            await asyncio.sleep(COMMIT_EVERY_S)
            await self.commit_now(consumer)

    async def commit_now(self, consumer: Any) -> None:
        """Commits what had its effect since the last time; a failure is logged, as records may be repeated."""
        owned = consumer.assignment()
        news = {
            place: offset
            for place, offset in self._unfinished.committable().items()
            if TopicPartition(*place) in owned and self._committed.get(place) != offset
        }
        if not news:
            return
        offsets = {TopicPartition(*place): offset for place, offset in news.items()}
        try:
            await asyncio.wait_for(consumer.commit(offsets), timeout=CALL_DEADLINE_S)
            self._committed.update(news)
        except (KafkaError, TimeoutError) as error:
            log.warning("commit_failed", error=str(error) or type(error).__name__)
