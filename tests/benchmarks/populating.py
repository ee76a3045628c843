"""A store that has known its users for long: one user's state and online rows, folded by us, copied to all of them."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from aiokafka.partitioner import murmur2

from features.canonical import canonical_event
from features.fold import fold
from features.ledger import Ledger
from features.redis_client import open_redis
from features.settings import Connections
from features.shopper_rows import ShopperRows
from features.state import UserState
from features.store import OnlineRows
from features.views import USER_ACTIVITY, project
from features.windows import MINUTE_MS
from stream import topics
from tests.benchmarks.services import PARTITIONS
from tests.benchmarks.traffic import Traffic, events

CHUNK = 5_000
COPY = """
for i = 3, #KEYS, 2 do
  redis.call('COPY', KEYS[1], KEYS[i], 'REPLACE')
  redis.call('COPY', KEYS[2], KEYS[i + 1], 'REPLACE')
end
"""
TEMPLATE = "demo:template"


def known_user(history: int, until_ms: int) -> UserState:
    """A user's state after `history` events, one every five minutes, the last at `until_ms`."""
    person, state = Traffic(users=1, seed=99, name="p"), UserState()
    for number, (_, raw) in enumerate(events(person, history, until_ms)):
        at_ms = until_ms - 5 * MINUTE_MS * (history - 1 - number)
        if (event := canonical_event(raw)) is not None:
            fold(state, event, at_ms, at_ms)
    return state


def populate(connections: Connections, traffic: Traffic, state: UserState, advance: Callable[[int], None]) -> None:
    """Gives every user of `traffic` a copy of `state` and its rows, as if this deployment had folded and projected."""
    asyncio.run(_populate(connections, traffic, state, advance))


async def _populate(
    connections: Connections, traffic: Traffic, state: UserState, advance: Callable[[int], None]
) -> None:
    redis = open_redis(connections)
    ledger = Ledger(redis, connections.named(topics.EVENTS.name), connections.prefix)
    rows = OnlineRows(redis, project(connections.prefix))
    key = rows.selection({USER_ACTIVITY.name: ["locale"]}).key
    async with redis:
        await ShopperRows(redis, project(connections.prefix)).write({TEMPLATE: state}, (1, 0))
        await redis.set(TEMPLATE, state.to_bytes())
        for first in range(0, traffic.users, CHUNK):
            users = [f"demo:{traffic.name}{number}" for number in range(first, min(first + CHUNK, traffic.users))]
            keys = [part for user in users for part in (ledger._state(partition_of(user), user), key(user))]
            await redis.eval(COPY, 2 + len(keys), TEMPLATE, key(TEMPLATE), *keys)
            advance(first + len(users))


def partition_of(key: str) -> int:
    """Where Kafka's own partitioner puts a key.

    >>> {partition_of(f"demo:u{n}") for n in range(100)} == {0, 1, 2, 3}
    True
    """
    return int((murmur2(key.encode()) & 0x7FFFFFFF) % PARTITIONS)
