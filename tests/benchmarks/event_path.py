"""From an event to its decision, with the embedder at work and held still in turn, under one stream of paced events.

The stack is the one of `make demo`: Kafka, Valkey, a worker, and an embedder whose model takes only cores that nobody
wants. The cache of vectors begins empty and fills first: what an embedder costs is what it still has to compute.
Visits of the declared world are sent when they are due, whatever comes back (open loop); a decision's latency counts
from its event's due time to its arrival at a consumer. Held still (SIGSTOP) the embedder uses no CPU and its cached
vectors stay, so both sides read and rank the same; it is held too shortly to lose its partitions, and then has more to
do than it can.
"""

from __future__ import annotations

import asyncio
import os
import random
import signal
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from itertools import takewhile
from pathlib import Path
from typing import Any

import numpy as np
import orjson
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer

from deploy.model_zero import ensure_model_zero
from deploy.stack import Stack
from features.contract import to_ms
from features.events import UserEvent
from features.settings import Connections
from stream import topics
from tests.benchmarks.meter import cpu_pressure, process_cpu_s
from tests.benchmarks.ratios import Ratio
from tests.benchmarks.tails import Floats, tail_ratio
from tests.benchmarks.visits import due
from training.shop import is_trigger

EVENTS_PER_S = 240.0
BLOCK_S, SETTLING_S = 8.0, 2.0
"""The length of a block, and its beginning that is not counted."""
DRAIN_S = 3.0
SIDES = ("on", "off", "off_again")
Advance = Callable[[str, int, int], None]


@dataclass(frozen=True, slots=True)
class Turn:
    """One block: which side, and which event times (ms) count."""

    side: str
    from_ms: float
    to_ms: float


@dataclass(slots=True)
class Timed:
    """Latencies in ms by side, block by block, and what the embedder used while at work."""

    latencies_ms: dict[str, list[Floats]]
    unanswered: int
    """Decisions that were due in a block and never came."""
    embedder_cores: float
    """CPU seconds a second of the embedder while it was at work."""
    pressure: list[float] = field(default_factory=list)

    def ratio(self, side: str, to: str) -> Ratio:
        """p99 of one side over another's."""
        return tail_ratio(self.latencies_ms[side], self.latencies_ms[to])

    def all(self, side: str) -> Floats:
        """Every latency of a side."""
        return np.concatenate(self.latencies_ms[side])


def measured(cache: Path, rounds: int, warm_s: float, seed: int, advance: Advance) -> Timed:
    """Runs the stack, `warm_s` with the embedder at work, then `rounds` of all sides in random order."""
    with Stack(cache, say=lambda _: None).start(lambda connections: ensure_model_zero(connections).version) as stack:
        stack.wait_for_embedder()
        return asyncio.run(_Course(stack, rounds, warm_s, seed, advance).run())


@dataclass(slots=True)
class _Course:
    stack: Stack
    rounds: int
    warm_s: float
    seed: int
    advance: Advance
    due_ms: dict[str, float] = field(default_factory=dict)
    """Event id -> when it was due; only of events that were sent and ask for a decision."""
    found: dict[str, float] = field(default_factory=dict)
    """Event id -> how long its decision took, in ms."""

    async def run(self) -> Timed:
        connections, turns = self.stack.connections, list(self._turns(time.time() * 1000 + 1000 * self.warm_s))
        told = AIOKafkaConsumer(
            connections.named(topics.DECISIONS.name), bootstrap_servers=connections.kafka_url,
            auto_offset_reset="earliest",
        )  # fmt: skip
        async with told:
            hearing = asyncio.create_task(self._hear(told))
            sending = asyncio.create_task(self._send(connections, turns[-1].to_ms))
            try:
                cores, pressure = await self._alternate(turns)
                await sending
                await asyncio.sleep(DRAIN_S)
            finally:
                for task in (hearing, sending):
                    task.cancel()
                await asyncio.gather(hearing, sending, return_exceptions=True)
        return self._timed(turns, cores, pressure)

    def _turns(self, start_ms: float) -> Iterator[Turn]:
        order = random.Random(self.seed)
        for number in range(self.rounds):
            for place, side in enumerate(order.sample(SIDES, len(SIDES))):
                begun_ms = start_ms + 1000 * BLOCK_S * (number * len(SIDES) + place)
                yield Turn(side, begun_ms + 1000 * SETTLING_S, begun_ms + 1000 * BLOCK_S)

    async def _alternate(self, turns: list[Turn]) -> tuple[float, list[float]]:
        """Holds and frees the embedder at each turn's beginning; its cores while free, and PSI at each turn's end."""
        pid, used_s, free_s, pressure = self.stack.services.supervisor.pid("embedder"), 0.0, 0.0, list[float]()
        try:
            for place, turn in enumerate(turns):
                await _until(turn.from_ms - 1000 * SETTLING_S)
                os.kill(pid, signal.SIGCONT if turn.side == "on" else signal.SIGSTOP)
                await _until(turn.from_ms)
                before_s = process_cpu_s(pid) or 0.0
                await _until(turn.to_ms - 50)
                if turn.side == "on":
                    used_s += (process_cpu_s(pid) or 0.0) - before_s
                    free_s += BLOCK_S - SETTLING_S
                pressure += [found for found in [cpu_pressure()] if found is not None]
                self.advance("embedder on and off in alternation", place + 1, len(turns))
        finally:
            os.kill(pid, signal.SIGCONT)
        return used_s / free_s, pressure

    async def _send(self, connections: Connections, until_ms: float) -> None:
        """Every event when it is due; one that is late counts from when it was due all the same."""
        events = takewhile(lambda event: to_ms(event.time) < until_ms, self._events())
        topic = connections.named(topics.EVENTS.name)
        async with AIOKafkaProducer(bootstrap_servers=connections.kafka_url, acks="all", linger_ms=0) as producer:
            for event in events:
                at_ms = float(to_ms(event.time))
                await _until(at_ms)
                if is_trigger(event):
                    self.due_ms[event.id] = at_ms
                await producer.send(topic, event.to_json(), key=event.key.encode())

    def _events(self) -> Iterator[UserEvent]:
        return due(EVENTS_PER_S, time.time_ns() // 1_000_000 + 200, self.seed)

    async def _hear(self, told: Any) -> None:
        async for record in told:
            now_ms, event_id = time.time() * 1000, orjson.loads(record.value)["trigger_event"]
            if event_id in self.due_ms:
                self.found.setdefault(event_id, now_ms - self.due_ms[event_id])

    def _timed(self, turns: list[Turn], cores: float, pressure: list[float]) -> Timed:
        sides: dict[str, list[Floats]] = {side: [] for side in SIDES}
        unanswered = 0
        for turn in turns:
            asked = [name for name, at_ms in self.due_ms.items() if turn.from_ms <= at_ms < turn.to_ms]
            sides[turn.side].append(np.array([self.found[name] for name in asked if name in self.found]))
            unanswered += sum(name not in self.found for name in asked)
        return Timed(sides, unanswered, cores, pressure)


async def _until(at_ms: float) -> None:
    wait_s = at_ms / 1000 - time.time()
    if wait_s > 0:
        await asyncio.sleep(wait_s)
