"""What the worker wrote online, read by Feast's own SDK: the values that the decision was made with."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from redis.asyncio import Redis

from features.decisions import Decision
from features.definitions import apply
from features.store import OnlineRows, ViewRow
from features.views import LATENT_QUERY, ORDER_STATE, USER_ACTIVITY, project
from tests.shows.deployment import Deployment

pytestmark = pytest.mark.timeout(600)

VIEWS = (USER_ACTIVITY, ORDER_STATE, LATENT_QUERY)
USER = "fay"


@pytest.fixture(scope="module")
def reasoning(stack: Deployment) -> Iterator[Deployment]:
    """The stack with its embedder."""
    yield stack.start("embedder")
    stack.stop("embedder")


@pytest.fixture(scope="module")
def decision(reasoning: Deployment) -> Decision:
    """What was decided when a shopper with a delayed parcel opened the chat."""
    order = {"order_id": "A-1"}
    told = [
        ("cart_updated", {"quantity": 3}),
        ("order_placed", order),
        ("order_status_changed", {**order, "order_status": "in_transit"}),
        ("parcel_delayed", {**order, "delay_days": 2.5}),
        ("chat_opened", {"text": "My parcel is late, can I have it sent somewhere else?"}),
    ]
    events = [{"id": f"fay-{n}", "user": USER, "type": kind, "data": data} for n, (kind, data) in enumerate(told)]
    reasoning.post(*events)
    return reasoning.decided(["fay-4"])["fay-4"]


@pytest.fixture(scope="module")
def ours(decision: Decision, reasoning: Deployment) -> dict[str, ViewRow]:
    """The rows as our reader has them, once the embedder has answered for the decision's state."""
    deadline_s = time.monotonic() + 60
    while True:
        rows = asyncio.run(_read(reasoning, decision.key))
        if rows[LATENT_QUERY.name].values.get("state_hash") == decision.embedding.state_hash:
            return rows
        assert time.monotonic() < deadline_s, f"no latent query of the decision's state: {rows[LATENT_QUERY.name]}"
        time.sleep(0.2)


async def _read(stack: Deployment, key: str) -> dict[str, ViewRow]:
    async with Redis.from_url(stack.connections.redis_url) as redis:
        rows = OnlineRows(redis, project(stack.connections.prefix))
        [found] = await rows.read([view.name for view in VIEWS], [key], time.time_ns() // 1_000_000)
        return found


@pytest.fixture(scope="module")
def store(stack: Deployment, tmp_path_factory: pytest.TempPathFactory) -> Any:
    """Feast's own store over the stack's Redis, its registry applied by code."""
    folder: Path = tmp_path_factory.mktemp("feast")
    where = stack.connections
    return apply(folder / "registry.db", project(where.prefix), where.redis_url, folder / "offline")


def _by_feast(store: Any, key: str) -> dict[str, dict[str, Any]]:
    """Each view's values, in one read a view: names repeat between views."""
    asked = {view.name: [f"{view.name}:{feature}" for feature in view.features] for view in VIEWS}
    found = {
        view: store.get_online_features(features=features, entity_rows=[{"shopper_id": key}]).to_dict()
        for view, features in asked.items()
    }
    return {view.name: {feature: found[view.name][feature][0] for feature in view.features} for view in VIEWS}


def test_feast_reads_what_our_reader_reads(ours: dict[str, ViewRow], store: Any) -> None:
    theirs = _by_feast(store, f"demo:{USER}")
    for view in VIEWS:
        row = ours[view.name]
        assert not row.missing
        for feature in view.features:
            np.testing.assert_array_equal(theirs[view.name][feature], row.values[feature], err_msg=feature)


def test_the_decision_was_made_with_these_values(decision: Decision, ours: dict[str, ViewRow]) -> None:
    numeric = decision.features.numeric
    activity, order, query = (ours[view.name].values for view in VIEWS)
    for counted in ("count_1h_chat_opened", "events_1d", "cart_quantity", "session_events"):
        assert numeric[counted] == pytest.approx(activity[counted]), counted
    assert (activity["session_id"], activity["locale"]) == (decision.session, "en")
    assert (numeric["orders"], numeric["delay_days"]) == (order["orders"], order["delay_days"]) == (1, 2.5)
    assert (order["order_id"], order["order_status"]) == ("A-1", "delayed")
    assert np.asarray(query["vector"]).shape == (576,)


def test_another_tenants_user_of_the_same_name_is_absent(ours: dict[str, ViewRow], store: Any) -> None:
    assert not ours[USER_ACTIVITY.name].missing
    theirs = _by_feast(store, f"other:{USER}")
    assert {value for view in theirs.values() for value in view.values()} == {None}
