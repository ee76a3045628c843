"""A shopper's rows from the state: the same bytes as feature by feature, and changes only over what they are of."""

import asyncio

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from features.redis_client import open_redis
from features.row_plan import RowPlan
from features.settings import Connections
from features.shopper_rows import ShopperRows
from features.state import UserState
from features.store import OnlineRows, RowWrite
from features.views import ORDER_STATE, USER_ACTIVITY, activity_values, order_values, project
from features.windows import DAY_MS
from features.wire import encode_time, entity_key, stamp_field, time_field
from tests.features.shopper_events import DATA, START_MS, apply, event

MOMENTS = st.integers(START_MS, START_MS + 3 * 3_600_000)
EVENTS = st.builds(event, st.sampled_from([*DATA, "chat_opened"]), MOMENTS, locale=st.sampled_from(["en", "es"]))
STAMPS = {stamp_field(name) for name in ("shopper", USER_ACTIVITY.name, ORDER_STATE.name)}


@pytest.fixture
async def client(redis_url):
    async with open_redis(Connections(redis_url=redis_url)) as client:
        yield client


@pytest.fixture
def rows(client, prefix):
    return ShopperRows(client, project(prefix))


def key(name, user="demo:a"):
    return entity_key("shopper_id", user, name)


async def stored(client, name, user="demo:a"):
    return {field: raw for field, raw in (await client.hgetall(key(name, user))).items() if field not in STAMPS}


def expected(state):
    """What `OnlineRows` keeps of the same state, feature by feature."""
    activity, orders = (RowPlan(view, "p") for view in (USER_ACTIVITY, ORDER_STATE))
    parts = activity.encoded(activity.ordered(activity_values(state)), state.last_ms)
    if (newest := state.newest_order()) is not None:
        parts += orders.encoded(orders.ordered(order_values(state)), newest[1].at_ms)
    return dict(zip(parts[::2], parts[1::2], strict=True))


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.tuples(EVENTS, st.booleans()), min_size=1, max_size=12))
def test_after_any_writes_the_store_has_every_feature_of_the_state(redis_url, told):
    asyncio.run(check_bytes(redis_url, told))


async def check_bytes(redis_url, told):
    async with open_redis(Connections(redis_url=redis_url)) as client:
        name, state = f"p{np.random.default_rng().integers(2**60)}", UserState()
        rows = ShopperRows(client, name)
        for offset, (told_event, is_written) in enumerate(told):
            apply(state, told_event)
            if is_written:
                assert await rows.write({"demo:a": state}, (1, offset)) == [True]
                assert await stored(client, name) == expected(state)


def known(last_ms=START_MS, **told):
    return UserState(last_ms=last_ms, session_start_ms=last_ms, **told)


async def sent_bytes(client):
    return (await client.info("stats"))["total_net_input_bytes"]


async def test_rows_written_again_send_their_changes_alone(rows, client, prefix):
    state = known(locale="x" * 1_000_000)
    await rows.write({"demo:a": state}, (1, 0))
    before, state.cart_quantity, state.last_ms = await sent_bytes(client), 3, START_MS + 1
    assert await rows.write({"demo:a": state}, (1, 1)) == [True]
    assert await sent_bytes(client) - before < 500_000
    assert await stored(client, project(prefix)) == expected(state)


async def test_changes_are_not_put_over_another_writers_rows(rows, client, prefix):
    other = ShopperRows(client, project(prefix))
    await rows.write({"demo:a": known(cart_quantity=1)}, (1, 5))
    await other.write({"demo:a": known(cart_quantity=7, locale="es")}, (1, 5))
    assert await rows.write({"demo:a": known(cart_quantity=2)}, (1, 5)) == [True]
    assert await stored(client, project(prefix)) == expected(known(cart_quantity=2))
    await other.write({"demo:a": known(cart_quantity=9)}, (2, 0))
    assert await rows.write({"demo:a": known(cart_quantity=3)}, (1, 6)) == [False]
    assert await stored(client, project(prefix)) == expected(known(cart_quantity=9))


@pytest.mark.parametrize("view", [USER_ACTIVITY, ORDER_STATE])
async def test_changes_are_not_put_over_rows_that_feast_wrote(rows, client, prefix, view):
    await rows.write({"demo:a": known()}, (1, 0))
    theirs = RowPlan(USER_ACTIVITY, project(prefix)).features["locale"]
    await client.hset(key(project(prefix)), mapping={theirs: b"?", time_field(view.name): encode_time(START_MS + 1000)})
    assert await rows.write({"demo:a": known(cart_quantity=2)}, (1, 1)) == [True]
    found = await stored(client, project(prefix))
    assert {field: found[field] for field in expected(known())} == expected(known(cart_quantity=2))


async def test_rows_that_the_store_lost_are_written_whole(rows, client, prefix):
    await rows.write({"demo:a": known()}, (1, 0))
    await client.delete(key(project(prefix)))
    assert await rows.write({"demo:a": known(cart_quantity=2)}, (1, 1)) == [True]
    assert await stored(client, project(prefix)) == expected(known(cart_quantity=2))


async def test_a_days_changes_keep_the_time_to_live_and_the_next_day_renews_it(rows, client, prefix):
    today_ms = START_MS - START_MS % DAY_MS
    await rows.write({"demo:a": known(today_ms)}, (1, 0))
    for last_ms, is_renewed in ((today_ms + 5, False), (today_ms + DAY_MS, True)):
        await client.pexpire(key(project(prefix)), 60_000)
        await rows.write({"demo:a": known(last_ms)}, (1, last_ms))
        assert (await client.pttl(key(project(prefix))) > 60_000) == is_renewed


async def test_who_was_written_longest_ago_is_forgotten_and_written_whole(client, prefix):
    rows = ShopperRows(client, project(prefix), remembered=2)
    users = [f"demo:{name}" for name in "abc"]
    for offset, user in enumerate(users):
        await rows.write({user: known()}, (1, offset))
    assert list(rows._last) == users[1:]
    assert await rows.write(dict.fromkeys(users, known(cart_quantity=1)), (1, 9)) == [True] * 3
    assert await stored(client, project(prefix)) == expected(known(cart_quantity=1))


async def test_scripts_that_the_server_forgot_are_sent_again(rows, client):
    await client.script_flush()
    for offset in range(2):
        assert await rows.write(dict.fromkeys(["demo:a", "demo:b"], known()), (1, offset)) == [True] * 2
        await client.script_flush()


async def test_what_a_shopper_has_is_read_by_name(rows, client, prefix):
    await rows.write({"demo:a": known(cart_quantity=4)}, (1, 0))
    await OnlineRows(client, project(prefix)).write_many(
        [RowWrite(ORDER_STATE.name, "demo:a", order_values(UserState()), START_MS, (1, 0))]
    )
    (found,) = await OnlineRows(client, project(prefix)).read([USER_ACTIVITY.name], ["demo:a"], START_MS)
    assert found[USER_ACTIVITY.name].values == activity_values(known(cart_quantity=4))
