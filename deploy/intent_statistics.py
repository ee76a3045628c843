"""The near-line job of the intent statistics: read on, close tiles, publish a snapshot when there is a newer one.

A snapshot goes to the compacted topic (workers follow it and name its version in their decisions) and to the online
rows of `intent_stats` (where Feast reads it).
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator
from typing import Any

from kafka import TopicPartition

from deploy.log_reader import open_consumer, read, spans, whole_topic
from deploy.publishing import publish
from features.acceptance import accepted
from features.contract import Contract, InvalidEvent, parse, to_ms
from features.decisions import Decision, Outcome
from features.notices import IntentStats
from features.redis_client import open_redis
from features.settings import Connections
from features.store import OnlineRows, RowWrite
from features.views import INTENT_STATS, intent_values, project
from features.windows import DAY_MS, MINUTE_MS
from stream import topics
from training.intent_stats import LATENESS_MS, WINDOW_MS, Snapshot, Tiles, closable_until_ms

REACH_MS = WINDOW_MS + LATENESS_MS + DAY_MS
"""How far back the first reading begins: a whole window before any tile that may still be open."""

IN_FLIGHT_MS = MINUTE_MS
"""How long a record may be on its way into the log after its timestamp."""


class StatisticsJob:
    """Keeps the tiles of the connections' tenant in memory; each `step` reads only what is new in the log."""

    def __init__(self, connections: Connections) -> None:
        self._connections = connections
        self._tiles = Tiles(connections.tenant)
        self._positions: dict[Any, int] = {}
        self._newest_ms: dict[Any, int] = {}
        self._published = _live(connections)

    def step(self, now_ms: int) -> Snapshot | None:
        """Publishes the snapshot of all tiles that can be closed; None when nothing newer can be said.

        `now_ms` is the wall clock. Raises ConnectionError and FileNotFoundError with what to do.
        """
        self._read(now_ms)
        until_ms = closable_until_ms(self._passed_ms(now_ms))
        if until_ms <= self._tiles.closed_until_ms:
            return None
        self._tiles.close(until_ms)
        snapshot = self._tiles.snapshot()
        if not snapshot.intents or until_ms <= self._published_until_ms:
            return None
        self._publish(snapshot)
        return snapshot

    @property
    def _published_until_ms(self) -> int:
        return max((to_ms(stats.until) for stats in self._published.values()), default=0)

    def _passed_ms(self, now_ms: int) -> int:
        """What time the log has passed in all partitions: that of its newest record, less what may be on its way.

        Brokers' and producers' clocks tell it, not the events': so neither an idle partition nor an event of another
        century holds tiles open or closes them early. It is never after the wall clock when the reading began.
        """
        return min(max(self._newest_ms.values(), default=0), now_ms) - IN_FLIGHT_MS

    def _read(self, now_ms: int) -> None:
        consumer = open_consumer(self._connections)
        try:
            for record in self._new(consumer, topics.DECISIONS, now_ms):
                self._take(record, Decision)
            for record in self._new(consumer, topics.OUTCOMES, now_ms):
                self._take(record, Outcome)
        finally:
            consumer.close()

    def _new(self, consumer: Any, topic: topics.Topic, now_ms: int) -> Iterator[Any]:
        found = spans(consumer, self._connections.named(topic.name))
        unread = [place for place in found if place not in self._positions]
        begin = consumer.offsets_for_times(dict.fromkeys(unread, now_ms - REACH_MS)) if unread else {}
        for place in unread:
            self._positions[place] = begin[place].offset if begin.get(place) else found[place][1]
        window = {place: (max(self._positions[place], start), end) for place, (start, end) in found.items()}
        for record in read(consumer, window):
            place = TopicPartition(record.topic, record.partition)
            self._newest_ms[place] = max(self._newest_ms.get(place, 0), record.timestamp)
            yield record
        self._positions |= {place: end for place, (_, end) in window.items()}

    def _take(self, record: Any, contract: type[Decision | Outcome]) -> None:
        try:
            if contract is Decision:
                self._tiles.decided(parse(Decision, record.value or b""), record.timestamp)
            else:
                self._tiles.told(accepted(Outcome, record.key, record.value), record.timestamp)
        except InvalidEvent:
            return

    def _publish(self, snapshot: Snapshot) -> None:
        """Rows first: a job that dies in between publishes the same snapshot again."""
        now = {stats.key: stats for stats in snapshot.intents}
        gone: list[tuple[str, Contract | None]] = [(key, None) for key in sorted(self._published.keys() - now.keys())]
        asyncio.run(write_rows(self._connections, snapshot))
        publish(self._connections, topics.INTENT_STATS, [*now.items(), *gone])
        self._published = now


def snapshots(connections: Connections, every_s: float) -> Iterator[Snapshot | None]:
    """What each step published: one step when `every_s` is 0, else for ever, that many seconds apart."""
    job = StatisticsJob(connections)
    while True:
        yield job.step(time.time_ns() // 1_000_000)
        if not every_s:
            return
        time.sleep(every_s)


async def write_rows(connections: Connections, snapshot: Snapshot) -> int:
    """Writes the `intent_stats` rows of a snapshot; returns how many took effect: a newer snapshot's stay."""
    rows = [
        RowWrite(INTENT_STATS.name, stats.key, row_values(stats), snapshot.until_ms, (snapshot.until_ms, 0))
        for stats in snapshot.intents
    ]
    async with open_redis(connections) as redis:
        return sum(await OnlineRows(redis, project(connections.prefix)).write_many(rows))


def row_values(stats: IntentStats) -> dict[str, Any]:
    """The `intent_stats` row of an intent."""
    return intent_values(stats.version, stats.shown, stats.clicked, stats.dismissed, stats.click_rate)


def _live(connections: Connections) -> dict[str, IntentStats]:
    """What the compacted topic holds for the tenant, by record key."""
    live: dict[str, IntentStats] = {}
    for record in whole_topic(connections, topics.INTENT_STATS.name):
        key = record.key.decode()
        live.pop(key, None)
        if record.value is not None and (stats := parse(IntentStats, record.value)).tenant == connections.tenant:
            live[key] = stats
    return live
