"""Waiting until the worker has dealt with everything in the log, and what its ledger then says."""

from __future__ import annotations

import asyncio
import time

from deploy.log_reader import open_consumer, spans
from features.ledger import Counts, Ledger
from features.redis_client import open_redis
from features.settings import Connections
from stream.topics import EVENTS, OUTCOMES, Topic

POLL_S = 0.2


class NotDrained(TimeoutError):
    """The worker did not reach the end of the log in time."""


def drain(connections: Connections, deadline_s: float = 90.0) -> None:
    """Returns once events and outcomes are applied up to the present end of their topics. Raises `NotDrained`."""
    ends = [(topic, _ends(connections, topic)) for topic in (EVENTS, OUTCOMES)]
    deadline = time.monotonic() + deadline_s
    while left := {topic.name: n for topic, end in ends if (n := asyncio.run(_unapplied(connections, topic, end)))}:
        if time.monotonic() > deadline:
            raise NotDrained(f"after {deadline_s:.0f} s the worker still has to apply {left}: see its log")
        time.sleep(POLL_S)


def ledger_counts(connections: Connections, topic: Topic) -> Counts:
    """What the ledger says became of a topic's records, over all partitions."""
    partitions = range(len(_ends(connections, topic)))

    async def _totals() -> Counts:
        async with open_redis(connections) as redis:
            return await Ledger(redis, connections.named(topic.name), connections.prefix).totals(partitions)

    return asyncio.run(_totals())


def _ends(connections: Connections, topic: Topic) -> dict[int, int]:
    consumer = open_consumer(connections)
    try:
        return {p.partition: end for p, (_, end) in spans(consumer, connections.named(topic.name)).items()}
    finally:
        consumer.close()


async def _unapplied(connections: Connections, topic: Topic, ends: dict[int, int]) -> int:
    """Records below the ends that the ledger has not applied."""
    async with open_redis(connections) as redis:
        ledger = Ledger(redis, connections.named(topic.name), connections.prefix)
        return sum([max(end - 1 - await ledger.applied(partition), 0) for partition, end in ends.items()])
