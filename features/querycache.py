"""The latent queries in Redis: how their keys are named, how a vector becomes bytes, and how both are read and written.

Keys (all under the deployment's prefix; ids are cut to 16 hex digits), vectors as raw little-endian float32:

    rgalign:h:<base>:<state hash>           the reasoner's own state of a prompt
    rgalign:h:<base>:known                  the newest state hashes by the time they were asked for
    rgalign:h:<base>:asked                  how often each was asked for
    rgalign:z:<space>:<state hash>          the adapted vector that the ranker reads
    rgalign:space:<space>:ready             the share of the traffic's prompts that a space has
    rgalign:space:<space>:alive             there while an embedder fills that space
    rgalign:intent:<encoder>:<content hash> an intent's vector

A vector is shared by all users whose prompts are equal, and expires `TTL_S` after it was last asked for.
"""

from __future__ import annotations

from collections.abc import Awaitable, Iterable, Mapping, Sequence
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray
from redis.asyncio import Redis

from features.settings import Connections

F32 = NDArray[np.float32]

TTL_S = 7 * 24 * 60 * 60
"""How long a vector is kept that nobody asks for."""

ALIVE_S = 5
"""How long an embedder that says nothing is taken to be there."""

KNOWN_PROMPTS = 20_000
"""How many of the newest state hashes are remembered for the refill of a new space."""


def encode(vector: F32) -> bytes:
    """The vector as raw little-endian float32. Raises ValueError for NaN, infinity or anything but one dimension."""
    if vector.ndim != 1 or not np.isfinite(vector).all():
        raise ValueError(
            f"a latent query of shape {vector.shape} with non-finite values or not flat must not be stored"
        )
    return np.ascontiguousarray(vector, dtype="<f4").tobytes()


def decode(raw: bytes | None, width: int) -> F32 | None:
    """The stored vector f32[width]; None when it is absent, of another width or not finite.

    >>> decode(encode(np.array([1.0, 2.0], dtype=np.float32)), 2).tolist()
    [1.0, 2.0]
    """
    if raw is None or len(raw) != 4 * width:
        return None
    vector = np.frombuffer(raw, dtype="<f4")
    return vector if np.isfinite(vector).all() else None


class QueryCache:
    """The keys of one deployment's latent queries. `redis` must return bytes (decode_responses=False)."""

    def __init__(self, redis: Redis, connections: Connections) -> None:
        self._redis = redis
        self._named = connections.named

    def base_key(self, base_id: str, state_hash: str) -> str:
        """Where the reasoner's own state of a prompt lies."""
        return self._named(f"rgalign:h:{base_id[:16]}:{state_hash}")

    def adapted_key(self, space_id: str, state_hash: str) -> str:
        """Where a prompt's vector in one space lies."""
        return self._named(f"rgalign:z:{space_id[:16]}:{state_hash}")

    def intent_key(self, encoder_id: str, content_hash: str) -> str:
        """Where one encoder's vector of an intent lies."""
        return self._named(f"rgalign:intent:{encoder_id[:16]}:{content_hash}")

    def ready_key(self, space_id: str) -> str:
        """Where the share (0..1) of the traffic's prompts that a space already has is told."""
        return self._named(f"rgalign:space:{space_id[:16]}:ready")

    def alive_key(self, space_id: str) -> str:
        """What is there while an embedder fills a space."""
        return self._named(f"rgalign:space:{space_id[:16]}:alive")

    def _known_key(self, base_id: str) -> str:
        return self._named(f"rgalign:h:{base_id[:16]}:known")

    def _asked_key(self, base_id: str) -> str:
        return self._named(f"rgalign:h:{base_id[:16]}:asked")

    async def read_adapted(self, space_id: str, state_hashes: Sequence[str], width: int) -> list[F32 | None]:
        """Each prompt's vector f32[width] in `space_id`, None where it is not cached."""
        return await self._read([self.adapted_key(space_id, state_hash) for state_hash in state_hashes], width)

    async def read_base(self, base_id: str, state_hashes: Sequence[str], width: int) -> list[F32 | None]:
        """Each prompt's own state f32[width], None where it is not cached."""
        return await self._read([self.base_key(base_id, state_hash) for state_hash in state_hashes], width)

    async def read_intents(self, encoder_id: str, content_hashes: Sequence[str], width: int) -> list[F32 | None]:
        """Each intent's vector f32[width] by one encoder, None where it is not there yet."""
        return await self._read([self.intent_key(encoder_id, content) for content in content_hashes], width)

    async def write_base(self, base_id: str, states: Mapping[str, F32], at_ms: int) -> None:
        """Stores base states by state hash and counts each as asked for once."""
        if not states:
            return
        pipeline = self._redis.pipeline(transaction=False)
        for state_hash, state in states.items():
            pipeline.set(self.base_key(base_id, state_hash), encode(state), ex=TTL_S)
        await pipeline.execute()
        await self.note_asked(base_id, dict.fromkeys(states, 1), at_ms)

    async def note_asked(self, base_id: str, times: Mapping[str, int], at_ms: int) -> None:
        """Notes how often stored states were asked for: they stay known, and live on from now.

        Of both lists the `KNOWN_PROMPTS` newest and most wanted are kept.
        """
        if not times:
            return
        known, asked = self._known_key(base_id), self._asked_key(base_id)
        pipeline = self._redis.pipeline(transaction=False)
        pipeline.zadd(known, dict.fromkeys(times, at_ms))
        for state_hash, count in times.items():
            pipeline.expire(self.base_key(base_id, state_hash), TTL_S)
            pipeline.zadd(asked, {state_hash: count}, incr=True)
        for key in (known, asked):
            pipeline.zremrangebyrank(key, 0, -KNOWN_PROMPTS - 1)
            pipeline.expire(key, TTL_S)
        await pipeline.execute()

    async def write_adapted(self, space_id: str, vectors: Mapping[str, F32]) -> None:
        """Stores vectors of one space by state hash."""
        await self._write({self.adapted_key(space_id, state_hash): v for state_hash, v in vectors.items()}, TTL_S)

    async def write_intents(self, encoder_id: str, vectors: Mapping[str, F32]) -> None:
        """Stores intents' vectors by content hash, without an end: a knowledge base is small."""
        await self._write({self.intent_key(encoder_id, content): v for content, v in vectors.items()}, None)

    async def known(self, base_id: str) -> list[str]:
        """The newest state hashes whose base states were stored, newest first."""
        hashes = await cast("Awaitable[list[bytes]]", self._redis.zrevrange(self._known_key(base_id), 0, -1))
        return [state_hash.decode() for state_hash in hashes]

    async def asked(self, base_id: str) -> dict[str, float]:
        """How often each known state hash was asked for, the most wanted first: the weights of the traffic."""
        known = await self.known(base_id)
        if not known:
            return {}
        told: Any = await self._redis.zrevrange(self._asked_key(base_id), 0, -1, withscores=True)
        counts = {state_hash.decode(): count for state_hash, count in told}
        weights = {name: counts.get(name, 1.0) for name in known}
        return dict(sorted(weights.items(), key=lambda item: -item[1]))

    async def ready(self, space_id: str) -> float | None:
        """The share of the traffic's prompts that a space has; None when no embedder filled it yet."""
        raw: Any = await self._redis.get(self.ready_key(space_id))
        return None if raw is None else float(raw)

    async def set_ready(self, space_id: str, share: float) -> None:
        """Tells the share (0..1) of the traffic's prompts that a space has."""
        await self._redis.set(self.ready_key(space_id), f"{share:.4f}", ex=TTL_S)

    async def forget_ready(self, space_id: str) -> None:
        """Forgets the share, to be told anew."""
        await self._redis.expire(self.ready_key(space_id), 0)

    async def is_alive(self, space_id: str) -> bool:
        """Whether an embedder that fills this space said so within `ALIVE_S`."""
        return await self._redis.get(self.alive_key(space_id)) is not None

    async def set_alive(self, space_ids: Iterable[str]) -> None:
        """Says that an embedder fills these spaces now."""
        for space_id in space_ids:
            await self._redis.set(self.alive_key(space_id), "1", ex=ALIVE_S)

    async def _read(self, keys: Sequence[str], width: int) -> list[F32 | None]:
        if not keys:
            return []
        pipeline = self._redis.pipeline(transaction=False)
        for key in keys:
            pipeline.get(key)
        return [decode(raw, width) for raw in await pipeline.execute()]

    async def _write(self, vectors: Mapping[str, F32], ttl_s: int | None) -> None:
        if not vectors:
            return
        pipeline = self._redis.pipeline(transaction=False)
        for key, vector in vectors.items():
            pipeline.set(key, encode(vector), ex=ttl_s)
        await pipeline.execute()
