"""Which latent query a decision gets: never one of another space, and what is missing is told."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator

import numpy as np
import pytest
from redis.asyncio import Redis

from features.querycache import QueryCache
from features.settings import Connections
from features.store import OnlineRows
from features.views import LATENT_QUERY, project
from stream.latent_queries import LatentQueries, Query, Wanted
from stream.telemetry import REGISTRY

MINE, OTHER, WIDTH = "5" * 64, "6" * 64, 3
NOW_MS = time.time_ns() // 1_000_000
U1 = Wanted("demo:u1", "a" * 64)


class Store:
    """Queries in a real Redis. `age_s` ago is when rows were made."""

    def __init__(self, redis: Redis, connections: Connections) -> None:
        self.cache = QueryCache(redis, connections)
        self.rows = OnlineRows(redis, project(connections.prefix))
        self.queries = LatentQueries(self.cache, self.rows, lambda: NOW_MS)

    async def row(self, space_id: str, vector: list[float], state_hash: str = "b" * 64) -> None:
        values = {
            "vector": np.array(vector, np.float32),
            "space_id": space_id,
            "state_hash": state_hash,
            "made_ms": NOW_MS - 5000,
        }
        await self.rows.write(LATENT_QUERY.name, U1.user, values, NOW_MS, (1, 1))

    async def of_u1(self) -> Query:
        (found,) = await self.queries.of([U1], MINE, WIDTH)
        return found


@pytest.fixture
async def store(redis_url: str, connections: Connections) -> AsyncIterator[Store]:
    async with Redis.from_url(redis_url) as redis:
        yield Store(redis, connections)


def refused(reason: str) -> float:
    return REGISTRY.get_sample_value("rgalign_queries_refused_total", {"reason": reason}) or 0.0


async def test_a_prompt_that_is_known_is_fresh_whoever_asks(store: Store) -> None:
    await store.cache.write_adapted(MINE, {U1.state_hash: np.ones(WIDTH, np.float32)})
    assert ((await store.of_u1()).state, (await store.of_u1()).degraded) == ("fresh", ())


async def test_the_users_last_vector_is_stale_and_has_an_age(store: Store) -> None:
    await store.row(MINE, [1, 2, 3])
    found = await store.of_u1()
    assert (found.state, found.age_ms) == ("stale", 5000)
    assert found.vector is not None
    assert found.vector.tolist() == [1, 2, 3]


async def test_a_vector_of_another_space_is_refused_and_counted(store: Store) -> None:
    before = refused("other_space")
    await store.row(OTHER, [1, 2, 3])
    found = await store.of_u1()
    assert (found.state, found.vector) == ("null", None)
    assert refused("other_space") == before + 1


async def test_after_a_switch_of_spaces_the_last_prompts_vector_serves_on(store: Store) -> None:
    await store.row(OTHER, [1, 2, 3], state_hash="c" * 64)
    await store.cache.write_adapted(MINE, {"c" * 64: np.full(WIDTH, 7, np.float32)})
    found = await store.of_u1()
    assert (found.state, found.age_ms) == ("stale", 5000)
    assert found.vector is not None
    assert found.vector.tolist() == [7, 7, 7]


async def test_a_row_of_another_width_is_refused_and_counted(store: Store) -> None:
    before = refused("unsound")
    await store.row(MINE, [1.0, 2.0])
    assert (await store.of_u1()).state == "null"
    assert refused("unsound") == before + 1


async def test_without_an_embedder_a_query_that_is_not_fresh_is_degraded(store: Store) -> None:
    assert (await store.of_u1()).degraded == ("embedder_away",)
    await store.cache.set_alive([MINE])
    assert (await store.of_u1()).degraded == ()


async def test_without_the_store_every_query_is_null_and_degraded(connections: Connections) -> None:
    async with Redis.from_url("redis://127.0.0.1:1/0") as redis:
        found = await Store(redis, connections).queries.of([U1, U1], MINE, WIDTH)
    assert [(query.state, query.degraded) for query in found] == [("null", ("query_store",))] * 2
