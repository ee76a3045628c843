"""The yardstick: a Faust agent that does nothing for each event, on Faust's own path with its own defaults.

Faust's buffer and poll size are its documented ones (4096 and none): our worker's small buffer counts batches.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from typing import Any

import faust

from stream import topics
from stream.faust_settings import faust_settings
from stream.settings import WorkerSettings
from tests.benchmarks.launching import Task, run_until
from tests.benchmarks.meter import Block


def noop(task: Task, at_start: Callable[[], None]) -> Block:
    """Reads from the start of the topic each time: it keeps no state."""
    return run_until(_measured(task, at_start))


async def _measured(task: Task, at_start: Callable[[], None]) -> Block:
    connections = task.connections
    settings = {
        **faust_settings(connections, WorkerSettings()),
        "stream_buffer_maxsize": 4096,
        "broker_max_poll_records": None,
    }
    app = faust.App(task.group, **settings)
    meter = task.meter()
    ended: asyncio.Future[Block] = asyncio.get_running_loop().create_future()

    async def agent(stream: AsyncIterator[Any]) -> None:
        seen = 0
        async for _ in stream:
            seen += 1
            if seen == task.warm:
                meter.begin(seen)
            elif seen == task.warm + task.events:
                ended.set_result(meter.end(seen))

    source = app.topic(connections.named(topics.EVENTS.name), key_serializer="raw", value_serializer="raw")
    app.agent(source, name="noop")(agent)
    await asyncio.to_thread(at_start)
    await app.start()
    return await ended
