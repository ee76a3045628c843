"""Our worker as an arm: its own Faust app, batches, ledger and projection, paused at the marks so that all is counted.

Online rows follow behind the ledger, so both marks are taken when the lanes are empty and every row is written.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from typing import Any

from stream import app as worker_app
from stream import batching, consuming
from stream.app import Worker, wall_clock_ms
from stream.batching import Batch
from stream.policy import PolicySettings
from stream.settings import WorkerSettings
from stream.shopper import Shopper
from tests.benchmarks import traffic
from tests.benchmarks.launching import Task, run_until
from tests.benchmarks.meter import Block

QUIET = PolicySettings(triggers=frozenset(), pages=frozenset())
"""Nobody is answered: what is left is the state pipeline."""
SPEAKING = PolicySettings(
    triggers=frozenset(traffic.TRIGGERS),
    pages=frozenset(),
    floor=0.0,
    cooldown_ms=0,
    max_per_session=10**6,
    ttl_ms=10**9,
)
"""5 % of the events are answered; no cap keeps a decision from being ranked, drawn and logged."""


class Gate:
    """Lets records through up to a number, and knows when their effects are in place."""

    def __init__(self) -> None:
        self.allowed = self.given = self.done = 0

    @property
    def is_open(self) -> bool:
        return self.given < self.allowed

    @property
    def is_quiet(self) -> bool:
        return not self.is_open and self.done == self.given


def gated(gate: Gate) -> type[batching.BatchConsumer]:
    """The worker's consumer behind a gate."""

    class GatedConsumer(batching.BatchConsumer):
        async def getmany(self, timeout: float) -> AsyncIterator[tuple[Any, Any]]:  # noqa: ASYNC109
            if not gate.is_open:
                await asyncio.sleep(0.005)
                return
            async for tp, message in super().getmany(timeout):
                if isinstance(message.value, Batch):
                    gate.given += len(message.value.records)
                yield tp, message

        def done(self, batch: Batch) -> None:
            super().done(batch)
            gate.done += len(batch.records)

    return GatedConsumer


def state(task: Task, at_start: Callable[[], None]) -> Block:
    """The state pipeline with online rows; no ranking, no requests for latent queries."""
    Shopper.query = lambda self, batch: None
    return run_until(_measured(task, QUIET, at_start))


def state_with_queries(task: Task, at_start: Callable[[], None]) -> Block:
    """The same, asking for a latent query whenever the meaning of a user's prompt changed."""
    return run_until(_measured(task, QUIET, at_start))


def state_without_rows(task: Task, at_start: Callable[[], None]) -> Block:
    """The state pipeline without online rows."""
    Shopper.query = lambda self, batch: None
    worker_app.Projection = _NoRows
    return run_until(_measured(task, QUIET, at_start))


def whole(task: Task, at_start: Callable[[], None]) -> Block:
    """The whole line: 5 % of the events ranked over the knowledge base and logged, latent queries asked for."""
    return run_until(_measured(task, SPEAKING, at_start))


class _NoRows:
    """A projection that writes nothing."""

    def __init__(self, *_: object) -> None: ...

    async def room(self) -> None: ...

    async def claimed(self, *_: object) -> None: ...

    def note(self, *_: object) -> None: ...

    async def flush(self) -> None: ...

    async def run(self) -> None:
        await asyncio.Event().wait()


async def _measured(task: Task, policy: PolicySettings, at_start: Callable[[], None]) -> Block:
    gate = Gate()
    batching.BatchTransport.Consumer = gated(gate)
    for module in (worker_app, consuming):
        module.GROUP = task.group  # a group of its own: no member of the last block is waited for
    worker = Worker(task.connections, WorkerSettings(), policy, clock=wall_clock_ms)
    running = asyncio.create_task(worker.run())
    meter = task.meter()
    await _until(lambda: bool(worker.consuming.claimed()), running)
    await asyncio.to_thread(at_start)
    await _passed(gate, worker, running, task.warm)
    meter.begin(gate.done)
    await _passed(gate, worker, running, gate.given + task.left(gate.given))
    return meter.end(gate.done)


async def _passed(gate: Gate, worker: Worker, running: asyncio.Task[None], records: int) -> None:
    """Lets at least the first `records` through; returns when their effects are in place."""
    gate.allowed = records
    await _until(lambda: gate.is_quiet, running)
    await worker.projection.flush()


async def _until(is_so: Callable[[], bool], running: asyncio.Task[None]) -> None:
    while not is_so():
        if running.done():
            running.result()
        await asyncio.sleep(0.002)
