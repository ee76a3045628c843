"""Before anything is timed: every arm with features reads one small log of trouble, and all features are equal.

The log has duplicates, late and disordered events, new sessions, and a user with more orders than are kept.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import numpy as np
from redis.asyncio import Redis

from features.settings import Connections
from features.state import UserState
from features.store import OnlineRows
from features.views import ORDER_STATE, USER_ACTIVITY, View, order_values, project
from tests.benchmarks.hand_loop import loads
from tests.benchmarks.traffic import Traffic, events

Row = list[Any]
PEOPLE = Traffic(users=150, seed=7)
CHUNKS, CHUNK_EVENTS, CHUNK_MS = 24, 100, 15 * 60_000
REPEATED, DISORDERED, LATE = 6, 6, 6
"""Of each chunk: records sent twice, of half an hour before, of an hour and a half before."""


class FeaturesDiffer(AssertionError):
    """Two arms disagree about a user: nothing that follows would compare like with like."""


def troubled(start_ms: int, chunks: int = CHUNKS) -> list[tuple[bytes, bytes]]:
    """A log of `chunks` quarters of an hour that ends before `start_ms` + chunks * 15 min."""
    order, log = random.Random(PEOPLE.seed), list[tuple[bytes, bytes]]()
    for chunk in range(chunks):
        at_ms, number = start_ms + chunk * CHUNK_MS, chunk * 1000
        some = list(events(PEOPLE, CHUNK_EVENTS, at_ms, number))
        some += events(PEOPLE, DISORDERED, at_ms - 2 * CHUNK_MS, number + 500)
        some += events(PEOPLE, LATE, at_ms - 6 * CHUNK_MS, number + 700)
        order.shuffle(some)
        log += some
        log += order.sample(log, REPEATED)
    return log


def ours(connections: Connections) -> dict[str, Row]:
    """The online rows that our projection wrote, by user, in the order of the views."""
    return asyncio.run(_ours(connections))


async def _ours(connections: Connections) -> dict[str, Row]:
    users = [f"demo:{PEOPLE.name}{number}" for number in range(PEOPLE.users)]
    async with Redis.from_url(connections.redis_url) as redis:
        rows = OnlineRows(redis, project(connections.prefix))
        found = await rows.read([USER_ACTIVITY.name, ORDER_STATE.name], users, now_ms=0)
    no_order = order_values(UserState())
    return {
        user: [*_ordered(row[USER_ACTIVITY.name].values, USER_ACTIVITY),
               *_ordered(row[ORDER_STATE.name].values or no_order, ORDER_STATE)]
        for user, row in zip(users, found, strict=True)
        if not row[USER_ACTIVITY.name].missing
    }  # fmt: skip


def _ordered(values: Mapping[str, Any], view: View) -> Row:
    return [values[name] for name in view.features]


def theirs(connections: Connections, pattern: str) -> dict[str, Row]:
    """The packed features that another arm wrote under keys like `pattern`, by user."""
    return asyncio.run(_theirs(connections, pattern))


async def _theirs(connections: Connections, pattern: str) -> dict[str, Row]:
    async with Redis.from_url(connections.redis_url) as redis:
        keys = [key async for key in redis.scan_iter(match=pattern, count=1000)]
        blobs = await redis.mget(keys) if keys else []
    return {key.decode().split(":f:")[1]: loads(blob) for key, blob in zip(keys, blobs, strict=True)}


def check(found: Mapping[str, Mapping[str, Row]]) -> int:
    """Returns how many values each arm was held to. Raises `FeaturesDiffer` at the first that is not equal."""
    first, *others = found
    expected = found[first]
    for arm in others:
        for difference in differences(expected, found[arm]):
            raise FeaturesDiffer(f"{first} and {arm} differ: {difference}")
    return sum(len(row) for row in expected.values())


def differences(expected: Mapping[str, Row], got: Mapping[str, Row]) -> Iterator[str]:
    """What differs between two arms, floats compared as float32, as Feast keeps them."""
    if not expected or expected.keys() != got.keys():
        yield f"{len(expected)} and {len(got)} users, not the same: {sorted(expected.keys() ^ got.keys())[:5]}"
        return
    for user, row in expected.items():
        if [as_kept(value) for value in row] != [as_kept(value) for value in got[user]]:
            yield f"{user}: {row} and {got[user]}"


def as_kept(value: Any) -> Any:
    """A value as it comes back from Feast's layout.

    >>> as_kept(0.1) == as_kept(0.1 + 1e-12), as_kept(3), as_kept("a")
    (True, 3, 'a')
    """
    return float(np.float32(value)) if isinstance(value, float) else value


Reader = Callable[[Connections], Mapping[str, Row]]
READERS: dict[str, Reader] = {
    "state": ours,
    "hand_loop": lambda connections: theirs(connections, "hand:*:f:*"),
    "hand_loop_unfenced": lambda connections: theirs(connections, "hand:*:f:*"),
    "quix": lambda connections: theirs(connections, "quix:f:*"),
}
"""How the features of an arm are read back."""
