"""What an embedder tells while it works: gauges each second, that it is alive, and a line in the log now and then."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import Any

import structlog
from redis.exceptions import RedisError

from stream.embedding import Embedding
from stream.lag import Lag
from stream.refresh_line import RefreshLine
from stream.telemetry import OLDEST_QUERY_WAIT_SECONDS, QUEUED_QUERIES

log = structlog.get_logger(__name__)

STALENESS_SLO_S = 10.0
"""No user should wait longer for a latent query: what an alert is set on."""

LOOK_EVERY_S = 1.0
ALIVE_EVERY_S = 1.0
REPORT_EVERY_S = 30.0


class EmbedderWatch:
    """Looks at a line and its work until cancelled. `clock` gives the wall clock in ms."""

    def __init__(self, line: RefreshLine, work: Embedding, consumer: Any, clock: Callable[[], int]) -> None:
        self._line, self._work, self._consumer, self._clock = line, work, consumer, clock
        self._lag = Lag(watermarked="")
        self._is_late = False

    async def run(self) -> None:
        """Looks every second."""
        alive_s = report_s = time.monotonic()
        before = self._work.tally.computed
        while True:
            self.look()
            if time.monotonic() >= alive_s:
                alive_s += ALIVE_EVERY_S
                await self._say_alive()
            if time.monotonic() >= report_s:
                report_s += REPORT_EVERY_S
                self._report((self._work.tally.computed - before) / REPORT_EVERY_S)
                before = self._work.tally.computed
            await asyncio.sleep(LOOK_EVERY_S)

    def look(self) -> None:
        """Sets the gauges; a missed objective is logged when it begins and when it ends."""
        QUEUED_QUERIES.set(len(self._line.queue))
        self._lag.tell(self._line.behind(self._consumer))
        wait_s = oldest_wait_s(self._line, self._clock())
        OLDEST_QUERY_WAIT_SECONDS.set(wait_s)
        is_late = wait_s > STALENESS_SLO_S
        if is_late != self._is_late:
            tell = log.warning if is_late else log.info
            tell("staleness_slo_missed" if is_late else "staleness_slo_kept", oldest_wait_s=round(wait_s, 1))
        self._is_late = is_late

    async def _say_alive(self) -> None:
        try:
            await self._work.cache.set_alive(space.space_id for space in self._work.spaces.all)
        except (RedisError, OSError) as error:
            log.warning("not_said_alive", error=str(error))

    def _report(self, computed_per_s: float) -> None:
        tally = self._work.tally
        log.info(
            "queries",
            computed=tally.computed,
            computed_per_s=round(computed_per_s, 2),
            cached=tally.cached,
            superseded=tally.superseded,
            dropped=tally.dropped,
            retried=tally.retried,
            failed=tally.failed,
            queued=len(self._line.queue),
            at_once=self._work.encoding.size,
        )


def oldest_wait_s(line: RefreshLine, now_ms: int) -> float:
    """How long the user who waits longest has waited."""
    oldest_ms = line.queue.oldest_ms
    return 0.0 if oldest_ms is None else max(now_ms - oldest_ms, 0) / 1000
