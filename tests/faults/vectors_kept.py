"""What the store holds of latent queries after a trial: how many vectors, and how many that must not be there."""

from __future__ import annotations

import re
import time
from dataclasses import dataclass
from typing import Any

import numpy as np
from redis import Redis
from redis.asyncio import Redis as AsyncRedis

from features.settings import Connections
from features.store import OnlineRows
from features.views import LATENT_QUERY, project

_OF_A_PROMPT = re.compile(r"rgalign:[hz]:[0-9a-f]{16}:[0-9a-f]{64}$")


@dataclass(frozen=True, slots=True)
class Kept:
    """Vectors by prompt and users' rows; `unsound` are those that are not finite or of another width."""

    vectors: int
    rows: int
    unsound: int


async def kept(connections: Connections, users: list[str], width: int) -> Kept:
    """Reads every vector and the rows of `users` ("tenant:user")."""
    with Redis.from_url(connections.redis_url) as redis:
        names = list(redis.scan_iter(f"{connections.named('rgalign:')}*", 1000))
        vectors = [redis.get(name) for name in names if _OF_A_PROMPT.search(name.decode())]
    async with AsyncRedis.from_url(connections.redis_url) as redis:
        rows = OnlineRows(redis, project(connections.prefix))
        found = await rows.read([LATENT_QUERY.name], users, time.time_ns() // 1_000_000)
    told = [values["vector"] for row in found if (values := row[LATENT_QUERY.name].values).get("vector") is not None]
    unsound = sum(not _is_sound(np.frombuffer(raw or b"", "<f4"), width) for raw in vectors)
    unsound += sum(not _is_sound(np.asarray(vector, np.float32), width) for vector in told)
    return Kept(len(vectors), len(told), unsound)


def _is_sound(vector: Any, width: int) -> bool:
    return vector.shape == (width,) and bool(np.isfinite(vector).all())
