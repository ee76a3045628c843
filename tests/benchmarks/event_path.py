"""From an event to its decision, with the embedder at work and held still in turn, under one stream of paced events.

The stack is the one of `make demo`: Kafka, Valkey, a worker, and an embedder whose model takes only cores that nobody
wants. Visits of the declared world are sent when they are due, whatever comes back (open loop); a decision's latency
counts from its event's due time to its arrival at a consumer. Three things make it tell what an embedder costs and not
something else:

    load    so many visits that everything without the embedder keeps `LOAD` of the cores busy, found first in the run
    cache   begins with the prompts of earlier visits: what an embedder costs is what is new
    turns   held still (SIGSTOP, too shortly to lose its partitions) it falls behind, and catches up when it is let go;
            so it is free at the beginning of every turn, on every side, and that does not count; turns are short, so
            that what slows the machine down for some seconds falls on all sides alike

The cores that it used in its counted turns stand beside those of the whole race, to show that it did its own work there
and no more. Its cached vectors stay while it is held, so both sides read and rank the same.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import os
import random
import signal
import time
import zlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import orjson
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer
from numpy.typing import NDArray

from deploy.model_zero import ensure_model_zero
from deploy.stack import Stack
from features.contract import to_ms
from features.prompt import state_hash
from features.querycache import QueryCache
from features.redis_client import open_redis
from features.settings import Connections
from stream import topics
from tests.benchmarks.meter import cpu_pressure, machine_cpu_s, process_cpu_s
from tests.benchmarks.ratios import Ratio
from tests.benchmarks.tails import Floats, tail_ratio
from tests.benchmarks.visits import due
from training.shop import is_trigger

MOST_EVENTS_PER_S = 400.0
LOAD = 0.5
"""How busy the machine's cores are without the embedder."""
GUESS = 0.25
"""The share of visits that are sent until `LOAD` is found."""
LOAD_S = 6.0
"""How long the load is looked at, and how long after it the embedder and the visits settle."""
FREE_S, SETTLING_S, COUNTED_S = 1.5, 0.3, 3.0
"""A turn: the embedder does what it could not do before; it is held or stays free; what follows counts."""
TURN_S = FREE_S + SETTLING_S + COUNTED_S
DRAIN_S = 3.0
SIDES = ("on", "off", "off_again")
F32 = NDArray[np.float32]
Advance = Callable[[str, int, int], None]


@dataclass(frozen=True, slots=True)
class Known:
    """What the cache begins with: a reasoner's states f32[H] of prompts."""

    base_id: str
    vectors: Mapping[str, F32]


class Length(NamedTuple):
    """How often each side has its turn, and how long the stack runs before."""

    rounds: int
    warm_s: float


@dataclass(frozen=True, slots=True)
class Turn:
    """One turn of a side: which event times (ms) count."""

    side: str
    from_ms: float
    to_ms: float


@dataclass(slots=True, kw_only=True)
class Timed:
    """Latencies in ms by side, block by block, and under what they were measured."""

    latencies_ms: dict[str, list[Floats]] = field(default_factory=lambda: {side: [] for side in SIDES})
    unanswered: int = 0
    """Decisions that were due in a block and never came."""
    embedder_cores: float
    """CPU seconds a second of the embedder in the turns that count it."""
    embedder_cores_race: float
    """The same over the whole race, turns without it included: what the events asked of it."""
    events_per_s: float
    """How many were sent in the race."""
    pressure: list[float] = field(default_factory=list)

    def cost(self) -> Ratio:
        """p99 with the embedder at work over that without it, both of whose turns in a round count."""
        off = [np.concatenate(turns) for turns in zip(*(self.latencies_ms[side] for side in SIDES[1:]), strict=True)]
        return tail_ratio(self.latencies_ms["on"], off)

    def noise(self) -> Ratio:
        """p99 of the two sides without it over each other."""
        return tail_ratio(self.latencies_ms["off_again"], self.latencies_ms["off"])

    def all(self, side: str) -> Floats:
        """Every latency of a side."""
        return np.concatenate(self.latencies_ms[side])


def measured(cache: Path, known: Known, length: Length, seed: int, advance: Advance) -> Timed:
    """Runs the stack with the `known` vectors, warms up, then measures all sides in random order, round by round."""

    def prepared(connections: Connections) -> str:
        asyncio.run(_fill(connections, known))
        return ensure_model_zero(connections).version

    with Stack(cache, say=lambda _: None).start(prepared) as stack, _undisturbed():
        stack.wait_for_embedder()
        return asyncio.run(_Course(stack, length, seed, advance).run())


@contextlib.contextmanager
def _undisturbed() -> Iterator[None]:
    """Hides what there is from the garbage collector: its walk through earlier parts' objects holds up the clock."""
    gc.collect()
    gc.freeze()
    try:
        yield
    finally:
        gc.unfreeze()


async def _fill(connections: Connections, known: Known) -> None:
    """Puts vectors into the cache before there is an embedder, which adapts them when it starts."""
    async with open_redis(connections) as redis:
        states = {state_hash(prompt): state for prompt, state in known.vectors.items()}
        await QueryCache(redis, connections).write_base(known.base_id, states, time.time_ns() // 1_000_000)


@dataclass(slots=True)
class _Course:
    stack: Stack
    length: Length
    seed: int
    advance: Advance
    due_ms: dict[str, float] = field(default_factory=dict)
    """Event id -> when it was due; only of events that were sent and ask for a decision."""
    found: dict[str, float] = field(default_factory=dict)
    """Event id -> how long its decision took, in ms."""
    share: float = GUESS
    """Of the visits, how many are sent."""
    sent: int = 0

    async def run(self) -> Timed:
        connections = self.stack.connections
        told = AIOKafkaConsumer(
            connections.named(topics.DECISIONS.name), bootstrap_servers=connections.kafka_url,
            auto_offset_reset="earliest",
        )  # fmt: skip
        async with told:
            tasks = [asyncio.create_task(part) for part in (self._hear(told), self._send(connections))]
            try:
                await asyncio.sleep(self.length.warm_s)
                await self._find_load()
                turns = list(self._turns(time.time() * 1000))
                timed = await self._alternate(turns)
                await asyncio.sleep(DRAIN_S)
            finally:
                for task in tasks:
                    task.cancel()
                await asyncio.gather(*tasks, return_exceptions=True)
        self._fill_in(timed, turns)
        return timed

    async def _find_load(self) -> None:
        """Sends so many visits that the machine is as busy as it is to be, the embedder held still."""
        pid = self.stack.services.supervisor.pid("embedder")
        os.kill(pid, signal.SIGSTOP)
        try:
            busy_s = machine_cpu_s()
            await asyncio.sleep(LOAD_S)
            busy = (machine_cpu_s() - busy_s) / LOAD_S / (os.cpu_count() or 1)
        finally:
            os.kill(pid, signal.SIGCONT)
        self.share = min(self.share * LOAD / busy, 1.0) if busy else self.share
        await asyncio.sleep(LOAD_S)

    def _turns(self, start_ms: float) -> Iterator[Turn]:
        order = random.Random(self.seed)
        for number in range(self.length.rounds):
            for place, side in enumerate(order.sample(SIDES, len(SIDES))):
                end_ms = start_ms + 1000 * TURN_S * (number * len(SIDES) + place + 1)
                yield Turn(side, end_ms - 1000 * COUNTED_S, end_ms)

    async def _alternate(self, turns: list[Turn]) -> Timed:
        """Frees the embedder at each turn's beginning and holds it in time; what that used, and PSI at each end."""
        pid, used_s, pressure = self.stack.services.supervisor.pid("embedder"), 0.0, list[float]()
        begun_s, sent = _used_s(pid), self.sent
        try:
            for place, turn in enumerate(turns):
                await _until(turn.from_ms - 1000 * SETTLING_S)
                if turn.side != "on":
                    os.kill(pid, signal.SIGSTOP)
                await _until(turn.from_ms)
                before_s = _used_s(pid)
                await _until(turn.to_ms)
                used_s += _used_s(pid) - before_s
                os.kill(pid, signal.SIGCONT)
                pressure += [found for found in [cpu_pressure()] if found is not None]
                self.advance("embedder on and off in alternation", place + 1, len(turns))
        finally:
            os.kill(pid, signal.SIGCONT)
        race_s = TURN_S * len(turns)
        return Timed(
            embedder_cores=used_s / (COUNTED_S * self.length.rounds),
            embedder_cores_race=(_used_s(pid) - begun_s) / race_s,
            events_per_s=(self.sent - sent) / race_s,
            pressure=pressure,
        )

    async def _send(self, connections: Connections) -> None:
        """Every event when it is due; one that is late counts from when it was due all the same."""
        topic = connections.named(topics.EVENTS.name)
        async with AIOKafkaProducer(bootstrap_servers=connections.kafka_url, acks="all", linger_ms=0) as producer:
            for event in due(MOST_EVENTS_PER_S, time.time_ns() // 1_000_000 + 200, self.seed):
                at_ms = float(to_ms(event.time))
                await _until(at_ms)
                if not self._is_sent(event.key):
                    continue
                if is_trigger(event):
                    self.due_ms[event.id] = at_ms
                self.sent += 1
                await producer.send(topic, event.to_json(), key=event.key.encode())

    def _is_sent(self, user: str) -> bool:
        return zlib.crc32(user.encode()) / 2**32 < self.share

    async def _hear(self, told: Any) -> None:
        async for record in told:
            now_ms, event_id = time.time() * 1000, orjson.loads(record.value)["trigger_event"]
            if event_id in self.due_ms:
                self.found.setdefault(event_id, now_ms - self.due_ms[event_id])

    def _fill_in(self, timed: Timed, turns: list[Turn]) -> None:
        for turn in turns:
            asked = [name for name, at_ms in self.due_ms.items() if turn.from_ms <= at_ms < turn.to_ms]
            timed.latencies_ms[turn.side].append(np.array([self.found[name] for name in asked if name in self.found]))
            timed.unanswered += sum(name not in self.found for name in asked)


def _used_s(pid: int) -> float:
    return process_cpu_s(pid) or 0.0


async def _until(at_ms: float) -> None:
    wait_s = at_ms / 1000 - time.time()
    if wait_s > 0:
        await asyncio.sleep(wait_s)
