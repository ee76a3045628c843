"""What binds the lines to Faust: one agent a topic, and what happens when a line cannot go on."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any, Protocol

import structlog

from stream.batching import Batch, Owner

log = structlog.get_logger(__name__)

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


def attach(app: Any, topic: str, name: str, line: Line, on_fatal: OnFatal) -> None:
    """Registers an agent of `app` (a `BatchApp`) that gives every batch of `topic` to `line`."""

    async def agent(stream: AsyncIterator[Batch]) -> None:
        async for batch in stream:
            try:
                await line.process(batch)
            except Exception as error:  # noqa: BLE001 - whatever it was: Faust would acknowledge the batch and go on
                on_fatal(error)
                await asyncio.Event().wait()
            app.consumer.done(batch)

    source = app.topic(topic, key_serializer="raw", value_serializer="raw")
    app.agent(source, name=name)(agent)
