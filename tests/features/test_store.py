"""Our online rows on a real Valkey: guarded, expiring, one round trip, one tenant at a time."""

import asyncio

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from features.redis_client import open_redis
from features.settings import Connections
from features.state import UserState
from features.store import OnlineRows, RowWrite
from features.views import LATENT_QUERY, VIEWS, Dtype, View, activity_values, intent_values, order_values, project
from features.wire import LayoutError, entity_key

NOW_MS = 1_790_000_000_123


@pytest.fixture
async def client(redis_url):
    async with open_redis(Connections(redis_url=redis_url)) as client:
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


def order(orders=1, order_id="A-1", delay_days=0.0):
    return {"orders": orders, "order_id": order_id, "order_status": "", "order_changed_ms": 0, "delay_days": delay_days}


async def read_order(rows, key="demo:a"):
    return (await rows.read(["order_state"], [key], NOW_MS))[0]["order_state"].values


async def test_one_row_twice_in_a_call_ends_as_the_last_one(rows, client, prefix):
    for writer in (rows, OnlineRows(client, project(prefix))):
        await writer.write("order_state", "demo:a", order(1, "first"), NOW_MS, (1, 0))
    batch = [RowWrite("order_state", "demo:a", order(2, name), NOW_MS, (1, 1)) for name in ("second", "third")]
    assert await rows.write_many(batch) == [True, True]
    assert await read_order(rows) == order(2, "third")
    assert await rows.write("order_state", "demo:a", order(2, "second"), NOW_MS, (1, 1))
    assert await read_order(rows) == order(2, "second")


ORDERS = st.builds(order, st.integers(0, 2), st.sampled_from(["a", "b"]), st.sampled_from([0.0, -0.0, 1.5]))
GUARDS = st.tuples(st.integers(1, 2), st.integers(0, 2))


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(writes=st.lists(st.tuples(st.booleans(), GUARDS, ORDERS, st.integers(0, 1)), max_size=12))
def test_whoever_writes_the_store_has_the_last_whole_row_of_the_greatest_guard(redis_url, writes):
    asyncio.run(check_writers(redis_url, writes))


async def check_writers(redis_url, writes):
    async with open_redis(Connections(redis_url=redis_url)) as client:
        name = f"p{np.random.default_rng().integers(2**60)}"
        writers = OnlineRows(client, name), OnlineRows(client, name)
        greatest, expected = (0, 0), {}
        for who, guard, values, later_ms in writes:
            took = await writers[who].write("order_state", "demo:a", values, NOW_MS - later_ms, guard)
            assert took == (guard >= greatest)
            if took:
                greatest, expected = guard, values
            assert str(await read_order(writers[0])) == str(expected)


async def test_a_view_wider_than_luas_stack_is_written_whole(client, prefix):
    wide = View("wide", "e", "k", {f"f{place}": Dtype.INT64 for place in range(9_001)}, 60_000, "")
    rows, values = OnlineRows(client, project(prefix), views=[wide]), dict.fromkeys(wide.features, 1)
    for turn in range(2):
        values = {name: value + turn for name, value in values.items()}
        assert await rows.write("wide", "a", values, NOW_MS, (1, turn))
        assert (await rows.read(["wide"], ["a"], NOW_MS))[0]["wide"].values == values


async def test_a_guard_that_cannot_be_kept_is_refused(rows):
    with pytest.raises(ValueError, match=r"expected \(epoch, offset\)"):
        await rows.write("order_state", "demo:a", order(), NOW_MS, (1, -1))


async def test_a_user_and_all_candidates_are_read_as_columns_at_once(rows):
    keys = [f"demo:i{place}" for place in range(20)]
    stats = [intent_values("v1", place, place // 2, 0, place / 20) for place in range(20)]
    await rows.write_many(
        [RowWrite("intent_stats", key, row, NOW_MS - 5, (1, 0)) for key, row in zip(keys, stats, strict=True)]
    )
    await rows.write("order_state", "demo:a", order(3), NOW_MS, (1, 0))
    user = rows.selection({"order_state": ["orders", "order_id"], "user_activity": ["locale"]})
    candidates = rows.selection({"intent_stats": ["packed"]}, {"packed": 4})
    shopper, intents = await rows.read_columns([(user, ["demo:a"]), (candidates, [*keys, "demo:new"])], NOW_MS)
    assert (shopper.missing.tolist(), shopper.ages_ms.tolist()) == ([[False, True]], [[0, -1]])
    assert (shopper.column("order_state", "orders").tolist(), shopper.strings) == ([3], [["A-1", None]])
    packed = intents.column("intent_stats", "packed")
    assert packed[:20].tolist() == [np.float32(row["packed"]).tolist() for row in stats]
    assert np.isnan(packed[20]).all()
    assert (intents.ages_ms[:, 0].tolist(), int(intents.missing.sum())) == ([5] * 20 + [-1], 1)


async def test_columns_of_an_unknown_view_are_refused(rows):
    with pytest.raises(ValueError, match="expected one of"):
        rows.selection({"nothing": []})


async def test_many_chunks_of_rows_are_each_answered_for(rows):
    keys = [f"demo:u{place}" for place in range(1_000)]
    batch = [RowWrite("order_state", key, order(place), NOW_MS, (1, place)) for place, key in enumerate(keys)]
    assert await rows.write_many(batch) == [True] * 1_000
    turned = [row._replace(values=order(5), guard=(1, 500)) for row in batch]
    assert await rows.write_many(turned) == [place <= 500 for place in range(1_000)]
    found = [row["order_state"].values["orders"] for row in await rows.read(["order_state"], keys, NOW_MS)]
    assert found == [5 if place <= 500 else place for place in range(1_000)]


async def test_an_unfit_value_stops_the_call_and_nothing_stays_under_way(rows):
    batch = [RowWrite("order_state", f"demo:u{place}", order(place), NOW_MS, (1, 0)) for place in range(300)]
    batch[200] = batch[200]._replace(values=order("x"))
    with pytest.raises(LayoutError, match="order_state:orders"):
        await rows.write_many(batch)
    assert len(asyncio.all_tasks()) == 1
    assert await rows.write_many([row._replace(values=order(7)) for row in batch]) == [True] * 300
