"""What binds the lines to Faust: one agent a topic, a lane a partition, and what happens when a line cannot go on.

A partition's batches are worked off one after the other; different partitions take turns, so that one folds while
another waits for Redis.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any, Protocol

import structlog

from stream.batching import Batch, Owner

log = structlog.get_logger(__name__)

LANE_DEPTH = 2
"""Batches that wait in a lane; with more, the agent waits too, and Faust stops fetching."""

OnFatal = Callable[[BaseException], None]


class Line(Protocol):
    """Takes the batches of one topic."""

    @property
    def fence(self) -> Owner:
        """Where its partitions go on."""
        ...

    def process(self, batch: Batch) -> Awaitable[None]:
        """Gives a batch its effects."""
        ...


class Lanes:
    """Gives every batch to `line`, in order within its partition; `done` is told after its effects.

    The first error goes to `on_fatal`, and its lane stands still: what follows would leave a hole.
    """

    def __init__(self, line: Line, done: Callable[[Batch], None], on_fatal: OnFatal) -> None:
        self._line = line
        self._done = done
        self._on_fatal = on_fatal
        self._lanes: dict[int, tuple[asyncio.Queue[Batch], asyncio.Task[None]]] = {}
        self._is_closed = False

    async def put(self, batch: Batch) -> None:
        """Queues a batch; waits while its lane is full, for good once the lanes are closed."""
        if self._is_closed:
            await asyncio.Event().wait()
        if batch.partition not in self._lanes:
            queue: asyncio.Queue[Batch] = asyncio.Queue(LANE_DEPTH)
            name = f"{batch.topic}[{batch.partition}]"
            self._lanes[batch.partition] = queue, asyncio.create_task(self._work(queue), name=name)
        await self._lanes[batch.partition][0].put(batch)

    async def close(self, deadline_s: float) -> None:
        """Takes no more; what is queued gets its effects within `deadline_s`, and is read again later if not."""
        self._is_closed = True
        waiting = [asyncio.create_task(queue.join()) for queue, task in self._lanes.values() if not task.done()]
        if waiting:
            await asyncio.wait(waiting, timeout=deadline_s)
        for task in [*waiting, *(task for _, task in self._lanes.values())]:
            task.cancel()

    async def _work(self, queue: asyncio.Queue[Batch]) -> None:
        while True:
            batch = await queue.get()
            try:
                await self._line.process(batch)
            except Exception as error:  # noqa: BLE001 - whatever it was: the worker must end, and be started again
                self._on_fatal(error)
                return
            self._done(batch)
            queue.task_done()


def attach(app: Any, topic: str, name: str, line: Line, on_fatal: OnFatal) -> Lanes:
    """Registers an agent of `app` (a `BatchApp`) that puts every batch of `topic` into its lane."""

    def done(batch: Batch) -> None:  # the consumer is there once the app has started
        app.consumer.done(batch)

    lanes = Lanes(line, done, on_fatal)

    async def agent(stream: AsyncIterator[Batch]) -> None:
        async for batch in stream:
            await lanes.put(batch)

    source = app.topic(topic, key_serializer="raw", value_serializer="raw")
    app.agent(source, name=name)(agent)
    return lanes
