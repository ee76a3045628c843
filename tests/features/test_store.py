"""Our online rows on a real Valkey: guarded, expiring, one round trip, one tenant at a time."""

import numpy as np
import pytest
import redis.asyncio

from features.state import UserState
from features.store import OnlineRows, RowWrite
from features.views import LATENT_QUERY, VIEWS, Dtype, activity_values, order_values, project
from features.wire import LayoutError, entity_key

NOW_MS = 1_790_000_000_123


@pytest.fixture
async def client(redis_url):
    async with redis.asyncio.Redis.from_url(redis_url) as client:
        yield client


@pytest.fixture
def rows(client, prefix):
    return OnlineRows(client, project(prefix))


def query(space_id="s1", size=4):
    vector = np.arange(size, dtype=np.float32) / 3
    return {"vector": vector, "space_id": space_id, "state_hash": "h1", "made_ms": NOW_MS}


async def read_space(rows, key="demo:a", now_ms=NOW_MS):
    return (await rows.read(["latent_query"], [key], now_ms))[0]["latent_query"].values.get("space_id")


async def test_what_is_written_is_read_in_its_types(rows):
    assert await rows.write("latent_query", "demo:a", query(), NOW_MS - 500, (1, 0))
    row = (await rows.read(["latent_query"], ["demo:a"], NOW_MS))[0]["latent_query"]
    assert (row.age_ms, row.missing) == (500, False)
    assert row.values["vector"].tolist() == query()["vector"].tolist()
    assert (row.values["space_id"], row.values["made_ms"]) == ("s1", NOW_MS)


async def test_all_views_of_many_users_are_read_at_once_and_missing_ones_say_so(rows):
    await rows.write_many(
        [
            RowWrite("user_activity", "demo:a", activity_values(UserState(last_ms=NOW_MS)), NOW_MS, (1, 0)),
            RowWrite("order_state", "demo:a", order_values(UserState()), NOW_MS, (1, 0)),
            RowWrite("order_state", "demo:b", order_values(UserState()), NOW_MS, (1, 0)),
        ]
    )
    one, two, three = await rows.read(["user_activity", "order_state"], ["demo:a", "demo:b", "demo:c"], NOW_MS)
    assert [row.missing for row in one.values()] == [False, False]
    assert [row.missing for row in two.values()] == [True, False]
    assert [(row.missing, row.values, row.age_ms) for row in three.values()] == [(True, {}, None)] * 2
    assert two["order_state"].values == order_values(UserState())


async def test_a_greater_guard_wins_whatever_the_times_say(rows):
    assert await rows.write("latent_query", "demo:a", query("new"), NOW_MS, (2, 10))
    assert not await rows.write("latent_query", "demo:a", query("older offset"), NOW_MS + 9, (2, 9))
    assert not await rows.write("latent_query", "demo:a", query("zombie"), NOW_MS + 9, (1, 99))
    assert await read_space(rows) == "new"
    assert await rows.write("latent_query", "demo:a", query("same again"), NOW_MS, (2, 10))
    assert await rows.write("latent_query", "demo:a", query("rebuilt"), NOW_MS - 9, (3, 0))
    assert await read_space(rows) == "rebuilt"


async def test_guards_of_two_views_do_not_meet(rows):
    assert await rows.write("latent_query", "demo:a", query(), NOW_MS, (9, 9))
    assert await rows.write("order_state", "demo:a", order_values(UserState()), NOW_MS, (1, 1))


async def test_an_expired_row_is_missing_with_its_age(rows):
    await rows.write("latent_query", "demo:a", query(), NOW_MS, (1, 0))
    late = NOW_MS + LATENT_QUERY.ttl_ms + 1
    row = (await rows.read(["latent_query"], ["demo:a"], late))[0]["latent_query"]
    assert (row.missing, row.values, row.age_ms) == (True, {}, LATENT_QUERY.ttl_ms + 1)
    assert await read_space(rows, now_ms=late - 1) == "s1"


async def test_the_whole_row_leaves_the_store_after_its_idle_time(client, prefix):
    rows = OnlineRows(client, project(prefix), ttl_ms=60_000)
    await rows.write("latent_query", "demo:a", query(), NOW_MS, (1, 0))
    assert 0 < await client.pttl(entity_key("shopper_id", "demo:a", project(prefix))) <= 60_000


async def test_another_tenants_user_of_the_same_name_is_not_found(rows):
    await rows.write("latent_query", "demo:a", query(), NOW_MS, (1, 0))
    assert await read_space(rows, "other:a") is None
    assert await read_space(rows, "demo:a") == "s1"


async def test_another_project_is_not_found(rows, client):
    await rows.write("latent_query", "demo:a", query(), NOW_MS, (1, 0))
    assert await read_space(OnlineRows(client, "rgalign_elsewhere")) is None


@pytest.mark.parametrize("values", [{}, {**query(), "extra": 1}])
async def test_a_partial_or_unknown_row_is_refused_before_anything_is_sent(rows, values):
    good = RowWrite("latent_query", "demo:a", query(), NOW_MS, (1, 0))
    with pytest.raises(LayoutError, match="None for a missing value"):
        await rows.write_many([good, good._replace(values=values)])
    assert await read_space(rows) is None


async def test_scripts_that_the_server_forgot_are_sent_again(rows, client):
    await rows.write("latent_query", "demo:a", query("one"), NOW_MS, (1, 0))
    await client.script_flush()
    batch = [RowWrite("latent_query", f"demo:{place}", query(), NOW_MS, (1, 0)) for place in range(3)]
    assert await rows.write_many(batch) == [True] * 3


async def test_nothing_to_do_is_no_round_trip(rows):
    assert await rows.write_many([]) == []
    assert await rows.read(["latent_query"], [], NOW_MS) == []


async def test_unknown_views_and_mixed_entities_are_refused(rows):
    with pytest.raises(ValueError, match="expected one of"):
        await rows.read(["nothing"], ["demo:a"], NOW_MS)
    with pytest.raises(ValueError, match="one entity at a time"):
        await rows.read(["latent_query", "intent_stats"], ["demo:a"], NOW_MS)


async def test_nulls_of_every_type_come_back_as_none(rows):
    for view in VIEWS.values():
        await rows.write(view.name, "demo:n", dict.fromkeys(view.features), NOW_MS, (1, 0))
        row = (await rows.read([view.name], ["demo:n"], NOW_MS))[0][view.name]
        assert row.values == dict.fromkeys(view.features)


def test_every_dtype_is_used_by_a_view():
    assert {dtype for view in VIEWS.values() for dtype in view.features.values()} == set(Dtype)
