import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from redis.asyncio import Redis

from features.querycache import KNOWN_PROMPTS, QueryCache, decode, encode

FINITE = arrays(np.float32, st.integers(1, 20), elements=st.floats(-1e6, 1e6, width=32))
SPACE, OTHER_SPACE, BASE = "5" * 64, "6" * 64, "b" * 64


@pytest.fixture
async def cache(redis_url, connections):
    redis = Redis.from_url(redis_url)
    yield QueryCache(redis, connections)
    await redis.aclose()


def vector(*numbers):
    return np.array(numbers, dtype=np.float32)


@given(FINITE)
def test_a_vector_survives_its_bytes(stored):
    assert np.array_equal(decode(encode(stored), len(stored)), stored)


@given(FINITE, st.integers(1, 30))
def test_bytes_of_another_width_are_no_vector(stored, width):
    assert (decode(encode(stored), width) is None) == (width != len(stored))


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_what_is_not_finite_is_neither_stored_nor_read(bad):
    with pytest.raises(ValueError, match="must not be stored"):
        encode(vector(1.0, bad))
    assert decode(vector(1.0, bad).tobytes(), 2) is None


async def test_a_vector_is_read_in_its_own_space_only(cache):
    await cache.write_adapted(SPACE, {"a": vector(1, 2)})
    found, missing = await cache.read_adapted(SPACE, ["a", "b"], 2)
    assert found.tolist() == [1, 2]
    assert missing is None
    assert await cache.read_adapted(OTHER_SPACE, ["a"], 2) == [None]


async def test_known_prompts_are_told_newest_first(cache):
    await cache.write_base(BASE, {"old": vector(1)}, at_ms=1)
    await cache.write_base(BASE, {"new": vector(2)}, at_ms=2)
    assert await cache.known(BASE) == ["new", "old"]
    assert KNOWN_PROMPTS > 2


async def test_an_unfilled_space_has_no_share(cache):
    assert await cache.ready(SPACE) is None
    await cache.set_ready(SPACE, 0.5)
    assert await cache.ready(SPACE) == 0.5


async def test_what_is_asked_for_most_comes_first_and_what_is_unknown_never(cache):
    await cache.write_base(BASE, {"rare": vector(1), "common": vector(2)}, at_ms=1)
    await cache.note_asked(BASE, {"common": 2}, at_ms=2)
    assert list((await cache.asked(BASE)).items()) == [("common", 3.0), ("rare", 1.0)]
    assert await cache.asked("c" * 64) == {}


async def test_an_embedder_that_says_nothing_is_away(cache):
    assert not await cache.is_alive(SPACE)
    await cache.set_alive([SPACE])
    assert (await cache.is_alive(SPACE), await cache.is_alive(OTHER_SPACE)) == (True, False)


async def test_a_share_that_is_forgotten_is_told_anew(cache):
    await cache.set_ready(SPACE, 1.0)
    await cache.forget_ready(SPACE)
    assert await cache.ready(SPACE) is None


def test_two_prefixes_never_share_a_key(connections):
    mine = QueryCache(None, connections)
    other = QueryCache(None, connections.model_copy(update={"prefix": "other"}))
    assert mine.adapted_key(SPACE, "a") != other.adapted_key(SPACE, "a")
