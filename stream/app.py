"""The worker: a Faust app with our batches, started and stopped by code, restartable after anything."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import logging
import os
import signal
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any

import structlog

from features.ledger import Ledger
from features.querycache import QueryCache
from features.redis_client import open_redis
from features.settings import Connections
from features.shopper_rows import ShopperRows
from features.store import OnlineRows
from features.views import project
from stream import topics, tracing
from stream.connecting import let_in
from stream.consuming import Consuming, FencedLine
from stream.dead_letters import DeadLetters
from stream.feedback_line import OutcomeLine
from stream.fence import patiently
from stream.follower import Follower
from stream.hot_intents import HotIntents
from stream.hot_swap import BundleSlot, LiveKnowledge
from stream.live_stats import LiveStatistics
from stream.open_slates import OpenSlates
from stream.outbox import Outbox
from stream.pipeline import EventLine, Names
from stream.policy import PolicySettings
from stream.projection import Projection
from stream.ranking import Ranking
from stream.refining import Refining
from stream.refreshed_feed import RefreshedFeed
from stream.settings import GROUP, WorkerSettings
from stream.telemetry import configure_logging, serving_health
from stream.user_cache import UserCache

log = structlog.get_logger(__name__)

CATCH_UP_DEADLINE_S = 30.0
GC_THRESHOLDS = 50_000, 20, 100
"""Cached states are many and make no cycles: Python's default would look through them all the time."""
QUIET_LOGGERS = ("faust", "mode", "aiokafka", "asyncio")


def wall_clock_ms() -> int:
    """The time of day in ms since the epoch."""
    return time.time_ns() // 1_000_000


class RoleEnded(RuntimeError):
    """A part of the worker ended by itself."""


class Worker:
    """One stream worker: both lines, the live model and knowledge base, health, and an orderly end.

    `clock` gives the wall clock in ms.
    """

    def __init__(
        self,
        connections: Connections,
        settings: WorkerSettings,
        policy: PolicySettings,
        clock: Callable[[], int] = wall_clock_ms,
    ) -> None:
        self._connections = connections
        self._clock = clock
        self._settings = settings
        self._policy = policy
        self._over: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._executor = ThreadPoolExecutor(1, thread_name_prefix="rank")
        self.models = BundleSlot(connections.tenant)
        self.knowledge = LiveKnowledge(connections.tenant)
        self.statistics = LiveStatistics(connections.tenant)
        self.redis: Any = open_redis(connections)
        self.outbox = Outbox(connections)
        self.hot_intents = HotIntents(
            self.models,
            self.knowledge,
            QueryCache(self.redis, connections),
        )
        self.slates = OpenSlates()
        self.events = self._event_line()
        self.outcomes = OutcomeLine(
            self._ledger(topics.OUTCOMES), self._dead_letters(topics.OUTCOMES_DLQ), clock, settings.store_patience_s
        )
        lines: dict[str, FencedLine] = {
            self._named(topics.EVENTS): self.events,
            self._named(topics.OUTCOMES): self.outcomes,
        }
        self.consuming = Consuming(connections, settings, lines, self._named(topics.EVENTS), self.end)

    def _named(self, topic: topics.Topic) -> str:
        return self._connections.named(topic.name)

    def _ledger(self, topic: topics.Topic) -> Ledger:
        return Ledger(self.redis, self._named(topic), self._connections.prefix)

    def _dead_letters(self, topic: topics.Topic) -> DeadLetters:
        return DeadLetters(self.outbox.producer, self._named(topic))

    def _event_line(self) -> EventLine:
        rows = OnlineRows(self.redis, project(self._connections.prefix))
        ledger, users = self._ledger(topics.EVENTS), UserCache()
        shoppers = ShopperRows(self.redis, project(self._connections.prefix))
        self.projection = Projection(shoppers, ledger, users, self._patiently)
        ranking = Ranking(QueryCache(self.redis, self._connections), rows, self._executor, self._clock)
        self.refining = self._refining(ranking)
        return EventLine(
            ledger=ledger,
            feedback=self._ledger(topics.OUTCOMES),
            names=Names(self._named(topics.DECISIONS), self._named(topics.QUERIES)),
            policy=self._policy,
            outbox=self.outbox,
            dead_letters=self._dead_letters(topics.EVENTS_DLQ),
            users=users,
            projection=self.projection,
            ranking=ranking,
            models=self.models,
            knowledge=self.knowledge,
            statistics=self.statistics,
            slates=self.slates,
            clock=self._clock,
            patience_s=self._settings.store_patience_s,
        )

    def _refining(self, ranking: Ranking) -> Refining:
        publish = partial(self.outbox.send, self._named(topics.DECISIONS))
        feedback = self._ledger(topics.OUTCOMES)
        return Refining(self.slates, ranking, self.models, self.knowledge, self._policy, feedback, publish, self._clock)

    def _held(self) -> set[int]:
        """The partitions whose users' decisions this worker makes."""
        topic, fence = self._named(topics.EVENTS), self.events.fence
        held = {tp.partition for tp in self.consuming.claimed() if tp.topic == topic}
        return {partition for partition in held if not fence.is_fenced(partition)}

    async def _patiently(self, call: Callable[[], Awaitable[Any]], doing: str) -> Any:
        return await patiently(call, self._settings.store_patience_s, doing)

    def end(self, error: BaseException | None = None) -> None:
        """Ends the worker: in order, or because of an error that it must be restarted for."""
        if self._over.done():
            return
        if error is None:
            self._over.set_result(None)
        else:
            log.error("worker_cannot_go_on", error=str(error), kind=type(error).__name__, exc_info=error)
            self._over.set_exception(error)

    async def run(self) -> None:
        """Works until `end` is called; raises the error that ended it."""
        async with contextlib.AsyncExitStack() as stack:
            stack.callback(self._executor.shutdown, wait=False)
            stack.push_async_callback(self.redis.aclose)
            await let_in(self._connections)
            await stack.enter_async_context(self.outbox)
            shared = (topics.EVENTS, topics.OUTCOMES, topics.DECISIONS, topics.QUERIES, topics.REFRESHED)
            await self.outbox.agree([self._named(topic) for topic in shared])
            await stack.enter_async_context(self._live())
            await stack.enter_async_context(
                serving_health(self._settings.health_port, self.ready, self._settings.health_host)
            )
            gc.collect()
            gc.freeze()
            gc.set_threshold(*GC_THRESHOLDS)
            await stack.enter_async_context(self._projecting())
            await stack.enter_async_context(self._consumed())
            log.info("worker_ready", group=self._connections.named(GROUP), policy=self._policy.version)
            await self._over

    @contextlib.asynccontextmanager
    async def _live(self) -> AsyncIterator[None]:
        """Follows knowledge base, models and intent statistics; goes on once all were read to their ends."""
        followers = [
            Follower(self._connections, self._named(topics.KB), self.knowledge.apply),
            Follower(self._connections, self._named(topics.MODELS), self.models.apply),
            Follower(self._connections, self._named(topics.INTENT_STATS), self.statistics.apply),
        ]
        tasks = [self._watched(follower.run(), f"follower{place}") for place, follower in enumerate(followers)]
        try:
            await self._caught_up(followers)
            tasks.append(self._watched(self.hot_intents.run(), "hot_intents"))
            refreshed = RefreshedFeed(self._connections, self._held, self.refining.refresh)
            tasks.append(self._watched(refreshed.run(), "refreshed"))
            yield
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.wait(tasks, timeout=2.0)

    async def _caught_up(self, followers: list[Follower]) -> None:
        """Waits until all are; raises what ended the worker meanwhile, TimeoutError after `CATCH_UP_DEADLINE_S`."""
        async with asyncio.timeout(CATCH_UP_DEADLINE_S):
            for follower in followers:
                waiting = asyncio.create_task(follower.caught_up.wait())
                ends: list[asyncio.Future[Any]] = [waiting, self._over]
                await asyncio.wait(ends, return_when=asyncio.FIRST_COMPLETED)
                if self._over.done():
                    waiting.cancel()
                    self._over.result()

    def _watched(self, work: Any, name: str) -> asyncio.Task[None]:
        task: asyncio.Task[None] = asyncio.create_task(work, name=name)
        task.add_done_callback(self._on_task_done)
        return task

    def _on_task_done(self, task: asyncio.Task[None]) -> None:
        if not task.cancelled():
            self.end(task.exception() or RoleEnded(f"{task.get_name()} ended by itself"))

    @contextlib.asynccontextmanager
    async def _projecting(self) -> AsyncIterator[None]:
        """Online rows follow the states; at the end those of every committed batch are written."""
        task = self._watched(self.projection.run(), "projection")
        try:
            yield
        finally:
            task.cancel()
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self.projection.flush(), self._settings.stop_deadline_s / 4)

    @contextlib.asynccontextmanager
    async def _consumed(self) -> AsyncIterator[None]:
        task = self._watched(self.consuming.run(), "faust")
        try:
            yield
        finally:
            task.remove_done_callback(self._on_task_done)
            task.cancel()
            await self.consuming.stop()

    def ready(self) -> tuple[bool, dict[str, object]]:
        """Whether decisions can be made: partitions given out, a bundle and a knowledge base loaded, nothing fenced."""
        fenced = self.consuming.fenced()
        details: dict[str, object] = {
            "partitions": sorted(f"{tp.topic}[{tp.partition}]" for tp in self.consuming.claimed()),
            "fenced": [f"{tp.topic}[{tp.partition}]" for tp in fenced],
            "model": None if self.models.ranker is None else self.models.ranker.version,
            "kb": self.knowledge.kb.version if self.knowledge.kb.intents else None,
        }
        return bool(self.consuming.is_assigned and details["model"] and details["kb"] and not fenced), details


async def _main(connections: Connections, settings: WorkerSettings, policy: PolicySettings) -> int:
    worker = Worker(connections, settings, policy)
    loop = asyncio.get_running_loop()
    running = asyncio.create_task(worker.run())
    stopped = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stopped.set)
    stopping = asyncio.create_task(stopped.wait())
    await asyncio.wait([running, stopping], return_when=asyncio.FIRST_COMPLETED)
    worker.end()
    done, _ = await asyncio.wait([running], timeout=settings.stop_deadline_s)
    if not done:
        log.warning("stop_deadline_passed", deadline_s=settings.stop_deadline_s)
    failed = bool(done) and running.exception() is not None
    if failed and not stopped.is_set():
        log.error("worker_failed", error=str(running.exception()))
        return 1
    log.info("worker_stopped")
    return 0


def main() -> None:
    """Runs a worker with settings from the environment until SIGTERM; the process exits 0, or 1 to be restarted.

    The exit is hard: Faust's consumer thread may hang when its broker is away, and the ledger needs no farewell.
    """
    configure_logging()
    tracing.start("worker")
    for name in QUIET_LOGGERS:
        logging.getLogger(name).setLevel(logging.WARNING)
    code = 1
    try:
        code = asyncio.new_event_loop().run_until_complete(_main(Connections(), WorkerSettings(), PolicySettings()))
    except Exception:
        log.exception("worker_failed")
    finally:
        tracing.stop()
        logging.shutdown()
        os._exit(code)


if __name__ == "__main__":
    main()
