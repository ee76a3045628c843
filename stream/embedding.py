"""Requests -> latent queries: cached ones are shared, new prompts go through the reasoner, users' rows are written."""

from __future__ import annotations

from collections import Counter
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import structlog
from numpy.typing import NDArray

from features.prompt import state_hash
from features.querycache import QueryCache
from features.reasoner import Encoder
from features.store import OnlineRows, RowWrite
from features.views import LATENT_QUERY
from stream.encoding import Encoding
from stream.query_spaces import QuerySpaces, Space
from stream.refresh_queue import Refresh
from stream.telemetry import QUERIES_EMBEDDED, QUERY_WAIT_SECONDS

log = structlog.get_logger(__name__)

F32 = NDArray[np.float32]

MOST_ATTEMPTS = 3
"""How often a request is tried before its user is left with the last good vector."""

Announce = Callable[[Space, Sequence[Refresh], int], Awaitable[None]]
"""Tells whose latent queries were refreshed in the serving space, at what time in ms."""


@dataclass(slots=True)
class Tally:
    """What became of the requests since the start."""

    computed: int = 0
    cached: int = 0
    superseded: int = 0
    dropped: int = 0
    failed: int = 0
    retried: int = 0

    def add(self, name: str, count: int = 1) -> None:
        """Counts requests under one of the names above, here and in the metrics."""
        if count:
            setattr(self, name, getattr(self, name) + count)
            QUERIES_EMBEDDED.labels(result=name).inc(count)


@dataclass(slots=True)
class Embedding:
    """One batch of requests at a time. A request is `cached` when its prompt's state was there, whoever asked first.

    What cannot be embedded leaves all that was stored before as it is: the user's last good vector stays in use.
    """

    encoding: Encoding
    cache: QueryCache
    rows: OnlineRows
    spaces: QuerySpaces
    clock: Callable[[], int]
    announce: Announce
    tally: Tally = field(default_factory=Tally)

    @property
    def reasoner(self) -> Encoder:
        """The model that the states come from."""
        return self.encoding.reasoner

    async def process(self, batch: Sequence[Refresh]) -> list[Refresh]:
        """Stores every request's vectors and row; returns the requests that are to be tried again.

        Raises what Redis raises (repeating a batch is harmless), and what the process must be started again for.
        """
        honest = [refresh for refresh in batch if state_hash(refresh.request.prompt) == refresh.request.state_hash]
        self._reject(len(batch) - len(honest), "the state hash is not the prompt's")
        prompts = {refresh.request.state_hash: refresh.request.prompt for refresh in honest}
        states = await self._cached(list(prompts))
        encoded = await self.encoding.encode({name: text for name, text in prompts.items() if name not in states})
        await self.cache.write_base(self.reasoner.base_id, encoded.vectors, self.clock())
        states |= encoded.vectors
        done = [refresh for refresh in honest if refresh.request.state_hash in states]
        await self._count(done, encoded.vectors)
        for space in self.spaces.all:
            vectors = await self.spaces.write(space, states)
            if space is self.spaces.serving:
                await self._write_rows(space, done, vectors)
        return self._to_try_again([refresh for refresh in honest if refresh.request.state_hash not in states])

    async def _cached(self, hashes: list[str]) -> dict[str, F32]:
        found = await self.cache.read_base(self.reasoner.base_id, hashes, self.reasoner.width)
        return {name: state for name, state in zip(hashes, found, strict=True) if state is not None}

    async def _count(self, done: Sequence[Refresh], computed: Mapping[str, F32]) -> None:
        """Tells how many requests were served by how many computations, and which prompts the traffic asks for."""
        asked = Counter(refresh.request.state_hash for refresh in done)
        asked.subtract(dict.fromkeys(computed, 1))  # storing them has counted them once
        await self.cache.note_asked(self.reasoner.base_id, +asked, self.clock())
        self.tally.add("computed", len(computed))
        self.tally.add("cached", len(done) - len(computed))

    def _to_try_again(self, failed: Sequence[Refresh]) -> list[Refresh]:
        again = [
            refresh
            for refresh in failed
            if refresh.attempts + 1 < MOST_ATTEMPTS and self.encoding.budget.take(1)
        ]  # fmt: skip
        self.tally.add("retried", len(again))
        self._reject(len(failed) - len(again), "the reasoner failed; what was stored before stays in use")
        return again

    def _reject(self, count: int, why: str) -> None:
        if count:
            self.tally.add("failed", count)
            log.warning("queries_not_embedded", count=count, why=why)

    async def _write_rows(self, space: Space, batch: Sequence[Refresh], vectors: Mapping[str, F32]) -> None:
        now_ms = self.clock()
        await self.rows.write_many([_row(space, refresh, vectors, now_ms) for refresh in batch])
        for refresh in batch:
            QUERY_WAIT_SECONDS.observe(max(now_ms - refresh.asked_ms, 0) / 1000)
        await self.announce(space, batch, now_ms)


def _row(space: Space, refresh: Refresh, vectors: Mapping[str, F32], now_ms: int) -> RowWrite:
    values = {
        "vector": vectors[refresh.request.state_hash],
        "space_id": space.space_id,
        "state_hash": refresh.request.state_hash,
        "made_ms": now_ms,
    }
    version = (0, origin_offset(refresh.request.origin))
    return RowWrite(LATENT_QUERY.name, refresh.request.key, values, now_ms, version)


def origin_offset(origin: str) -> int:
    """The offset in topic[partition]@offset: a user's events stand in one partition, so it orders their prompts.

    >>> origin_offset("shop.user.events.v1[3]@42")
    42
    """
    offset = origin.rpartition("@")[2]
    return int(offset) if offset.isdigit() else 0
