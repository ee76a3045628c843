"""Simulated shoppers, live: they post events to a gateway, receive decisions from the log, and answer them.

The shoppers themselves are `training.traffic.LiveShopper`s without clock or network; here is only the driver that
owns both. Every id that the gateway acknowledged is remembered, so that the books can be closed afterwards.
"""

from __future__ import annotations

import asyncio
import heapq
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field

import httpx
import orjson
from aiokafka import AIOKafkaConsumer

from features.contract import InvalidEvent, parse
from features.decisions import Decision, Outcome
from features.events import UserEvent
from features.kafka_client import aiokafka_arguments
from features.knowledge import load
from features.settings import Connections
from stream.connecting import started
from stream.topics import DECISIONS
from training.dials import Dials
from training.traffic import LiveShopper, arrivals
from training.visits import Session
from training.words import load_phrases
from training.world import World

TICK_S = 0.02
MAX_POST = 200
MAX_TRIES = 60
REMEMBERED_S = 60.0
REQUEST_DEADLINE_S = 15.0


@dataclass(slots=True)
class Tally:
    """What the shoppers did and got back; times are seconds on one monotonic clock, keyed by event id."""

    acked: set[str] = field(default_factory=set)
    outcomes_acked: int = 0
    posts_retried: int = 0
    rejected: int = 0
    first_show_s: float | None = None
    unacknowledged: int = 0
    decisions: Counter[str] = field(default_factory=Counter)
    sent_s: dict[str, float] = field(default_factory=dict)
    received_s: dict[str, float] = field(default_factory=dict)
    recent: list[Decision] = field(default_factory=list)

    def describe(self) -> str:
        """One line for a person."""
        made = ", ".join(f"{n} {kind}" for kind, n in sorted(self.decisions.items())) or "no decisions"
        return f"{len(self.acked)} events acknowledged, {made}, {self.outcomes_acked} outcomes"


class Crowd:
    """Shoppers of one world, driven in real time until `stop()`; `tally` may be read while it runs."""

    def __init__(self, connections: Connections, gateway_url: str, world: World, rate: float) -> None:
        self.tally = Tally()
        self._connections = connections
        self._gateway_url = gateway_url
        self._world = world
        self._rate = rate
        self._live: dict[str, LiveShopper] = {}
        self._ended: list[tuple[float, Session]] = []
        self._due: list[tuple[int, int, UserEvent | Outcome]] = []
        self._order = 0
        self._is_stopping = asyncio.Event()

    def stop(self) -> None:
        """No new events from now on; what is due is still posted."""
        self._is_stopping.set()

    async def run(self) -> Tally:
        """Drives the shoppers until `stop()` and everything posted is answered."""
        async with (
            httpx.AsyncClient(base_url=self._gateway_url, timeout=REQUEST_DEADLINE_S) as http,
            asyncio.TaskGroup() as group,
        ):
            listener = group.create_task(self._listen())
            group.create_task(self._act(http, listener))
        return self.tally

    async def _act(self, http: httpx.AsyncClient, listener: asyncio.Task[None]) -> None:
        """Starts sessions and posts what falls due, until stopped; then ends the listener."""
        sessions = arrivals(self._world, self._rate, _now_ms())
        upcoming = next(sessions)
        posts: set[asyncio.Task[None]] = set()
        while not self._is_stopping.is_set():
            upcoming = self._admit(upcoming, sessions)
            for path, items in self._take_due():
                task = asyncio.create_task(self._post(http, path, items))
                posts.add(task)
                task.add_done_callback(posts.discard)
            self._forget()
            await asyncio.sleep(TICK_S)
        await asyncio.gather(*posts)
        listener.cancel()

    def _admit(self, upcoming: Session, sessions: Iterator[Session]) -> Session:
        while upcoming.start_ms <= _now_ms():
            shopper = LiveShopper(self._world, upcoming)
            for event in upcoming.events:
                self._live[event.id] = shopper
            self._schedule_next(shopper)
            upcoming = next(sessions)
        return upcoming

    def _schedule_next(self, shopper: LiveShopper) -> None:
        due_ms, event = shopper.next_due_ms, shopper.next_event()
        if event is None or due_ms is None:
            self._ended.append((time.monotonic(), shopper.session))
            return
        self._live[event.id] = shopper
        self._schedule(due_ms, event)

    def _schedule(self, due_ms: int, message: UserEvent | Outcome) -> None:
        self._order += 1
        heapq.heappush(self._due, (due_ms, self._order, message))

    def _take_due(self) -> list[tuple[str, list[UserEvent | Outcome]]]:
        """What is due now, as bounded posts."""
        due: dict[str, list[UserEvent | Outcome]] = {"events": [], "outcomes": []}
        while self._due and self._due[0][0] <= _now_ms() and max(map(len, due.values())) < MAX_POST:
            _, _, message = heapq.heappop(self._due)
            if isinstance(message, UserEvent):
                due["events"].append(message)
                self._schedule_next(self._live[message.id])
            else:
                due["outcomes"].append(message)
        return [(path, items) for path, items in due.items() if items]

    async def _post(self, http: httpx.AsyncClient, path: str, items: list[UserEvent | Outcome]) -> None:
        """Posts until acknowledged; while the gateway says 503 (or is away) it waits and posts the same ids again."""
        waiting = {item.id: item for item in items}
        for _ in range(MAX_TRIES):
            body = orjson.dumps({path: [orjson.Fragment(item.to_json()) for item in waiting.values()]})
            sent_s = time.monotonic()
            if path == "events":
                for event_id in waiting:
                    self.tally.sent_s.setdefault(event_id, sent_s)
            try:
                answer = await http.post(f"/v1/{path}", content=body, headers={"content-type": "application/json"})
                self._settle(path, answer, waiting)
            except httpx.TransportError:
                pass
            if not waiting:
                return
            self.tally.posts_retried += 1
            await asyncio.sleep(0.5)
        self.tally.unacknowledged += len(waiting)

    def _settle(self, path: str, answer: httpx.Response, waiting: dict[str, UserEvent | Outcome]) -> None:
        """Takes off `waiting` what the gateway accepted, knew already or refused for good."""
        if answer.status_code >= httpx.codes.INTERNAL_SERVER_ERROR and "results" not in answer.text:
            return
        for result in answer.json().get("results", []):
            if result["status"] == "unknown":
                continue
            if waiting.pop(result["id"], None) is None:
                continue
            if result["status"] == "rejected":
                self.tally.rejected += 1
            elif path == "events":
                self.tally.acked.add(result["id"])
            else:
                self.tally.outcomes_acked += 1

    async def _listen(self) -> None:
        """Receives every decision from now on and lets the shopper it is for answer."""
        consumer = AIOKafkaConsumer(
            self._connections.named(DECISIONS.name),
            **aiokafka_arguments(self._connections),
            group_id=None,
            enable_auto_commit=False,
            auto_offset_reset="latest",
        )
        await started(consumer, self._connections)
        try:
            async for record in consumer:
                try:
                    self._receive(parse(Decision, record.value))
                except InvalidEvent:
                    self.tally.decisions["unreadable"] += 1
        finally:
            await consumer.stop()

    def _receive(self, decision: Decision) -> None:
        self.tally.decisions[decision.decision] += 1
        self.tally.received_s.setdefault(decision.trigger_event, time.monotonic())
        if decision.decision == "show" and self.tally.first_show_s is None:
            self.tally.first_show_s = time.monotonic()
        self.tally.recent = [decision, *self.tally.recent[:19]]
        shopper = self._live.get(decision.trigger_event)
        if shopper is None:
            return
        for outcome in shopper.on_decision(decision, _now_ms()):
            self._schedule(round(outcome.time.timestamp() * 1000), outcome)

    def _forget(self) -> None:
        """Drops sessions that ended a while ago, so that memory stays bounded."""
        while self._ended and self._ended[0][0] < time.monotonic() - REMEMBERED_S:
            _, session = self._ended.pop(0)
            for event in session.events:
                self._live.pop(event.id, None)


def world_of(seed: int, *, drift: bool = True, haste: float = 1.0) -> World:
    """The demo's world: our own knowledge base and phrases."""
    return World(load(), load_phrases(), seed, Dials(drift=drift), haste=haste)


def run_for(gateway_url: str, *, rate: float, seconds: float, seed: int) -> Tally:
    """`rgalign simulate`: a crowd for so many seconds."""

    async def _run() -> Tally:
        crowd = Crowd(Connections(), gateway_url, world_of(seed), rate)
        asyncio.get_running_loop().call_later(seconds, crowd.stop)
        return await crowd.run()

    return asyncio.run(_run())


def _now_ms() -> int:
    return time.time_ns() // 1_000_000
