"""The latent queries that decisions are made with: fresh by state hash, else the user's last one, else null.

| what is found                                     | what is given                                                  |
|---------------------------------------------------|----------------------------------------------------------------|
| a vector of the prompt in the ranker's space      | fresh                                                          |
| the user's row, in the ranker's space             | stale, with its age                                            |
| the user's row, of another space                  | refused and counted; stale if its prompt is in the ranker's, too |
| nothing, or nothing sound of the ranker's width   | null: the model's learned null query                           |
| no answer from the store in time                  | null, degraded: query_store                                    |
| no fresh vector, and no embedder fills the space  | as above, degraded: embedder_away                              |
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np
import structlog
from numpy.typing import NDArray
from redis.exceptions import RedisError

from features.querycache import QueryCache
from features.store import OnlineRows
from features.views import LATENT_QUERY
from stream.telemetry import QUERIES_REFUSED, SERVED_QUERY_AGE_SECONDS

log = structlog.get_logger(__name__)

F32 = NDArray[np.float32]

QUERY_DEADLINE_S = 0.25
"""How long a decision waits for its latent query before it does without."""
BELIEVED_MS = 1000
"""How long an embedder that was there is taken to be there still."""


@dataclass(frozen=True, slots=True)
class Wanted:
    """Whose query, for which prompt."""

    user: str
    state_hash: str


@dataclass(frozen=True, slots=True)
class Query:
    """A vector f32[H] or None, how old, and what was not there that should be."""

    state: Literal["fresh", "stale", "null"]
    vector: F32 | None = None
    age_ms: int = 0
    degraded: tuple[str, ...] = ()


NULL = Query("null")


class LatentQueries:
    """Reads queries within a deadline. `clock` gives the wall clock in ms."""

    def __init__(self, cache: QueryCache, rows: OnlineRows, clock: Callable[[], int]) -> None:
        self._cache = cache
        self._rows = rows
        self._clock = clock
        self._alive = ("", 0)

    async def of(self, wanted: Sequence[Wanted], space_id: str, width: int) -> list[Query]:
        """The queries of a ranker's space f32[width], in the order asked for; never a vector of another space."""
        try:
            async with asyncio.timeout(QUERY_DEADLINE_S):
                return await self._read(wanted, space_id, width)
        except (TimeoutError, RedisError, OSError) as error:
            log.warning("latent_queries_unread", queries=len(wanted), error=str(error) or type(error).__name__)
            return [replace(NULL, degraded=("query_store",))] * len(wanted)

    async def _read(self, wanted: Sequence[Wanted], space_id: str, width: int) -> list[Query]:
        """One round trip by state hash; further ones for the misses alone."""
        fresh = await self._cache.read_adapted(space_id, [one.state_hash for one in wanted], width)
        queries = [NULL if vector is None else Query("fresh", vector) for vector in fresh]
        missed = [place for place, vector in enumerate(fresh) if vector is None]
        if missed:
            users = [wanted[place].user for place in missed]
            last, is_alive = await asyncio.gather(self._last(users, space_id, width), self._is_filled(space_id))
            degraded = () if is_alive else ("embedder_away",)
            for place, query in zip(missed, last, strict=True):
                queries[place] = replace(query, degraded=degraded)
        return queries

    async def _is_filled(self, space_id: str) -> bool:
        """Whether an embedder fills the space; a yes holds for `BELIEVED_MS`."""
        now_ms = self._clock()
        known, seen_ms = self._alive
        if known == space_id and 0 <= now_ms - seen_ms < BELIEVED_MS:
            return True
        is_alive = await self._cache.is_alive(space_id)
        self._alive = (space_id, now_ms) if is_alive else ("", 0)
        return is_alive

    async def _last(self, users: Sequence[str], space_id: str, width: int) -> list[Query]:
        """What the users' rows give; a third round trip for rows of another space."""
        now_ms = self._clock()
        found = [row[LATENT_QUERY.name].values for row in await self._rows.read([LATENT_QUERY.name], users, now_ms)]
        queries = [
            _stale(row, row["vector"], now_ms, width) if row.get("space_id") == space_id else NULL for row in found
        ]
        moved = [place for place, row in enumerate(found) if row.get("space_id") not in {None, space_id}]
        if moved:
            QUERIES_REFUSED.labels(reason="other_space").inc(len(moved))
            hashes = [found[place]["state_hash"] for place in moved]
            for place, vector in zip(moved, await self._cache.read_adapted(space_id, hashes, width), strict=True):
                if vector is not None:
                    queries[place] = _stale(found[place], vector, now_ms, width)
        return queries


def _stale(row: Mapping[str, Any], vector: Any, now_ms: int, width: int) -> Query:
    values = np.asarray(vector, np.float32)
    if values.shape != (width,) or not np.isfinite(values).all():
        QUERIES_REFUSED.labels(reason="unsound").inc()
        return NULL
    age_ms = max(now_ms - (row["made_ms"] or now_ms), 0)
    SERVED_QUERY_AGE_SECONDS.observe(age_ms / 1000)
    return Query("stale", values, age_ms)
