"""Faust at work for a worker: its app with our batches, lanes for them, and a watch over what Faust hides."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping
from typing import Any, Protocol, cast

from faust.types import TP

from features.settings import Connections
from stream.agents import Lanes, Line, OnFatal, attach
from stream.batching import BatchApp, BatchConsumer, Owner
from stream.faust_settings import faust_settings
from stream.lag import Lag, behind
from stream.settings import GROUP, WorkerSettings

WATCH_EVERY_S = 1.0


class FencedOut(RuntimeError):
    """Another worker took partitions that Kafka still gives to this one."""


class FaustEnded(RuntimeError):
    """Faust stopped by itself."""


class Fenced(Owner, Protocol):
    """An owner that knows when another one took over."""

    def is_fenced(self, partition: int) -> bool:
        """Whether another worker took this partition since it was claimed here."""
        ...


class FencedLine(Line, Protocol):
    """A line whose partitions are fenced."""

    @property
    def fence(self) -> Fenced:
        """Where its partitions go on, and whether they are still ours."""
        ...


class Consuming:
    """Feeds each line the batches of its topic (full topic name -> line); the first error of one goes to `on_fatal`.

    `watermarked` is the topic whose watermark delay is told.
    """

    def __init__(
        self,
        connections: Connections,
        settings: WorkerSettings,
        lines: Mapping[str, FencedLine],
        watermarked: str,
        on_fatal: OnFatal,
    ) -> None:
        self._settings = settings
        self._lines = lines
        self._lag = Lag(watermarked)
        self.app = BatchApp(
            connections.named(GROUP),
            owners={topic: line.fence for topic, line in lines.items()},
            **faust_settings(connections, settings),
        )
        self._lanes: list[Lanes] = [
            attach(self.app, topic, f"line{place}", line, on_fatal) for place, (topic, line) in enumerate(lines.items())
        ]

    async def run(self) -> None:
        """Starts Faust and watches it until it crashes; Faust swallows the errors of its own parts."""
        await self.app.start()
        fenced_since_s: float | None = None
        while not self.app.crashed:
            await asyncio.sleep(WATCH_EVERY_S)
            self._lag.tell(behind(self.app.consumer))
            fenced_since_s = (fenced_since_s or time.monotonic()) if self.fenced() else None
            if fenced_since_s is not None and time.monotonic() - fenced_since_s > 3 * self._settings.session_timeout_s:
                raise FencedOut(
                    f"partitions {self.fenced()} belong to another worker by the ledger, and to this one by Kafka: "
                    "does another consumer group use the same RGALIGN_PREFIX?"
                )
        raise self.app.crash_reason or FaustEnded("Faust crashed")

    async def stop(self) -> None:
        """Lets queued batches take effect within a quarter of the stop's deadline, then leaves the group."""
        for lanes in self._lanes:
            await lanes.close(self._settings.stop_deadline_s / 4)
        await self.app.stop()

    @property
    def is_assigned(self) -> bool:
        """Whether the group has given out its partitions."""
        app: Any = self.app
        return bool(app.started and not app.rebalancing and app.rebalancing_count > 0)

    def claimed(self) -> frozenset[TP]:
        """The partitions that this worker owns by claim."""
        return cast("BatchConsumer", self.app.consumer).claimed if self.app.started else frozenset()

    def fenced(self) -> list[TP]:
        """Those of them that another worker took over."""
        return [tp for tp in self.claimed() if self._lines[tp.topic].fence.is_fenced(tp.partition)]
