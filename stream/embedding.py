"""Requests -> latent queries: cached ones are shared, new prompts go through the reasoner, users' rows are written."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass, field

import numpy as np
import structlog
from numpy.typing import NDArray

from features.prompt import state_hash
from features.querycache import QueryCache
from features.reasoner import Encoder
from features.store import OnlineRows, RowWrite
from features.views import LATENT_QUERY
from stream.query_spaces import QuerySpaces, Space
from stream.refresh_queue import Refresh
from stream.telemetry import QUERIES_EMBEDDED

log = structlog.get_logger(__name__)

F32 = NDArray[np.float32]


@dataclass(slots=True)
class Tally:
    """What became of the requests since the start."""

    computed: int = 0
    cached: int = 0
    superseded: int = 0
    dropped: int = 0
    failed: int = 0

    def add(self, name: str, count: int = 1) -> None:
        """Counts requests under one of the names above, here and in the metrics."""
        if count:
            setattr(self, name, getattr(self, name) + count)
            QUERIES_EMBEDDED.labels(result=name).inc(count)


@dataclass(slots=True)
class Embedding:
    """One batch of requests at a time. A request is `cached` when its prompt's state was there, whoever asked first."""

    reasoner: Encoder
    cache: QueryCache
    rows: OnlineRows
    spaces: QuerySpaces
    executor: Executor
    clock: Callable[[], int]
    tally: Tally = field(default_factory=Tally)

    async def process(self, batch: Sequence[Refresh]) -> None:
        """Stores every request's vectors and row. Raises only what Redis raises: repeating a batch is harmless."""
        honest = [refresh for refresh in batch if state_hash(refresh.request.prompt) == refresh.request.state_hash]
        self._reject(len(batch) - len(honest), "the state hash is not the prompt's")
        prompts = {refresh.request.state_hash: refresh.request.prompt for refresh in honest}
        states = await self._cached(list(prompts))
        made = await self._computed({name: text for name, text in prompts.items() if name not in states})
        await self.cache.write_base(self.reasoner.base_id, made, self.clock())
        states |= made
        self.tally.add("computed", len(made))
        self.tally.add("cached", sum(1 for refresh in honest if refresh.request.state_hash in states) - len(made))
        for space in self.spaces.all:
            vectors = await self.spaces.write(space, states)
            if space is self.spaces.serving:
                await self._write_rows(space, honest, vectors)

    async def _cached(self, hashes: list[str]) -> dict[str, F32]:
        found = await self.cache.read_base(self.reasoner.base_id, hashes, self.reasoner.width)
        return {name: state for name, state in zip(hashes, found, strict=True) if state is not None}

    async def _computed(self, prompts: Mapping[str, str]) -> dict[str, F32]:
        """The states of new prompts; one that is not finite or has another width is counted and never stored."""
        if not prompts:
            return {}
        loop = asyncio.get_running_loop()
        try:
            states = await loop.run_in_executor(self.executor, self.reasoner.embed, list(prompts.values()))
        except RuntimeError as error:
            # torch says so when memory or the device fails; what was cached before stays in use.
            self._reject(len(prompts), str(error)[:300])
            return {}
        is_sound = states.shape == (len(prompts), self.reasoner.width)
        sound = {
            name: state for name, state in zip(prompts, states, strict=False) if is_sound and np.isfinite(state).all()
        }
        self._reject(len(prompts) - len(sound), f"the reasoner gave shape {states.shape} or non-finite numbers")
        return sound

    def _reject(self, count: int, why: str) -> None:
        if count:
            self.tally.add("failed", count)
            log.warning("queries_not_embedded", count=count, why=why)

    async def _write_rows(self, space: Space, batch: Sequence[Refresh], vectors: Mapping[str, F32]) -> None:
        now_ms = self.clock()
        rows = [
            RowWrite(
                LATENT_QUERY.name,
                refresh.request.key,
                {
                    "vector": vectors[refresh.request.state_hash],
                    "space_id": space.space_id,
                    "state_hash": refresh.request.state_hash,
                    "made_ms": now_ms,
                },
                now_ms,
                (0, origin_offset(refresh.request.origin)),
            )
            for refresh in batch
            if refresh.request.state_hash in vectors
        ]
        await self.rows.write_many(rows)


def origin_offset(origin: str) -> int:
    """The offset in topic[partition]@offset: a user's events stand in one partition, so it orders their prompts.

    >>> origin_offset("shop.user.events.v1[3]@42")
    42
    """
    offset = origin.rpartition("@")[2]
    return int(offset) if offset.isdigit() else 0
