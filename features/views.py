"""The online views in one table: which features a row of each has, their types, how long they hold - no Feast here.

`features.definitions` makes Feast objects of this table and `features.store` the byte layout, so both say the same.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from features.events import EventKind
from features.state import UserState
from features.windows import DAY_MS, DAY_S, HOUR_S, MINUTE_S, WEEK_S, Tally

Scalar = float | int | str | None


class Dtype(StrEnum):
    """The value types we keep online."""

    FLOAT32 = "float32"
    INT64 = "int64"
    STRING = "string"
    VECTOR = "float32[]"


@dataclass(frozen=True, slots=True)
class View:
    """One online view: rows by `entity`, valid for `ttl_ms` of event time."""

    name: str
    entity: str
    join_key: str
    features: dict[str, Dtype]
    ttl_ms: int
    purpose: str


_K = EventKind
COUNTED = (
    _K.PAGE_VIEWED, _K.SEARCHED, _K.CART_UPDATED, _K.CHECKOUT_STARTED, _K.PAYMENT_FAILED, _K.VOUCHER_REJECTED,
    _K.PARCEL_DELAYED, _K.RETURN_REQUESTED, _K.HELP_PAGE_OPENED, _K.CHAT_OPENED, _K.SIGN_IN_FAILED,
)  # fmt: skip
"""The kinds whose decayed counts and last times are online."""

USER_ACTIVITY = View(
    "user_activity",
    "shopper",
    "shopper_id",
    {
        **{f"count_1h_{kind.value}": Dtype.FLOAT32 for kind in COUNTED},
        **{f"count_1d_{kind.value}": Dtype.FLOAT32 for kind in COUNTED},
        **{f"last_ms_{kind.value}": Dtype.INT64 for kind in COUNTED},
        **dict.fromkeys(("events_1m", "events_1h", "events_1d", "events_7d"), Dtype.INT64),
        "session_id": Dtype.STRING,
        "session_start_ms": Dtype.INT64,
        "session_events": Dtype.INT64,
        "cart_quantity": Dtype.INT64,
        "prompts_in_session": Dtype.INT64,
        "locale": Dtype.STRING,
    },
    30 * DAY_MS,
    "what a shopper did: counts of a kind with half-lives of 1 h and 1 d as of its own last_ms (0 = never), events in "
    "the windows of 1 min, 1 h, 1 d and 7 d up to the row's event time, the session",
)
ORDER_STATE = View(
    "order_state",
    "shopper",
    "shopper_id",
    {
        "orders": Dtype.INT64,
        "order_id": Dtype.STRING,
        "order_status": Dtype.STRING,
        "order_changed_ms": Dtype.INT64,
        "delay_days": Dtype.FLOAT32,
    },
    90 * DAY_MS,
    "how many orders are known, and the one heard of last (empty = none)",
)
LATENT_QUERY = View(
    "latent_query",
    "shopper",
    "shopper_id",
    {"vector": Dtype.VECTOR, "space_id": Dtype.STRING, "state_hash": Dtype.STRING, "made_ms": Dtype.INT64},
    7 * DAY_MS,
    "the reasoner's latest vector for a shopper, in the space it belongs to",
)
INTENT_STATS = View(
    "intent_stats",
    "intent",
    "intent_key",
    {
        "version": Dtype.STRING,
        "shown": Dtype.INT64,
        "clicked": Dtype.INT64,
        "dismissed": Dtype.INT64,
        "click_rate": Dtype.FLOAT32,
        "packed": Dtype.VECTOR,
    },
    7 * DAY_MS,
    "how an intent fared, from one versioned snapshot of the log; packed = shown, clicked, dismissed, click_rate",
)
INTENT_PACKED = ("shown", "clicked", "dismissed", "click_rate")
"""The entries of `intent_stats:packed`, f32[4]: one field an intent, for reading hundreds of intents at once."""

VIEWS: dict[str, View] = {view.name: view for view in (USER_ACTIVITY, ORDER_STATE, LATENT_QUERY, INTENT_STATS)}


def project(prefix: str) -> str:
    """The Feast project of a deployment; it ends every online key, so deployments never meet.

    >>> project(""), project("team-a")
    ('rgalign', 'rgalign_team_a')
    """
    return f"rgalign_{prefix.replace('-', '_')}" if prefix else "rgalign"


_NAMES = tuple((kind.value, f"count_1h_{kind.value}", f"count_1d_{kind.value}", f"last_ms_{kind.value}")
               for kind in COUNTED)  # fmt: skip
_NEVER = Tally(0.0, 0.0, 0.0, 0.0, 0)


def activity_values(state: UserState) -> dict[str, Any]:
    """The `user_activity` row of a state, as of its newest event (`state.last_ms`).

    An event changes the three values of its own kind, the window and session counts, and little else: a decayed count
    is as of its kind's `last_ms`, so a reader gets the one of now as count * 2 ** (-(now_ms - last_ms) / half-life).
    """
    now_ms, values = state.last_ms, dict[str, Any]()
    for kind, hour, day, last_ms in _NAMES:
        tally = state.tallies.get(kind, _NEVER)
        values[hour], values[day], values[last_ms] = tally.hour, tally.day, tally.last_ms
    values["events_1m"] = state.events_within(MINUTE_S, now_ms)
    values["events_1h"] = state.events_within(HOUR_S, now_ms)
    values["events_1d"] = state.events_within(DAY_S, now_ms)
    values["events_7d"] = state.events_within(WEEK_S, now_ms)
    values["session_id"] = state.session_id
    values["session_start_ms"] = state.session_start_ms
    values["session_events"] = state.session_events
    values["cart_quantity"] = state.cart_quantity
    values["prompts_in_session"] = state.prompts_in_session
    values["locale"] = state.locale
    return values


def order_values(state: UserState) -> dict[str, Any]:
    """The `order_state` row of a state."""
    order_id, order = state.newest_order() or ("", None)
    return {
        "orders": len(state.orders),
        "order_id": order_id,
        "order_status": order.status if order else "",
        "order_changed_ms": order.at_ms if order else 0,
        "delay_days": order.delay_days if order else 0.0,
    }


def intent_values(version: str, shown: int, clicked: int, dismissed: int, click_rate: float) -> dict[str, Any]:
    """The `intent_stats` row of one intent in a snapshot."""
    figures = {"shown": shown, "clicked": clicked, "dismissed": dismissed, "click_rate": click_rate}
    return {"version": version, **figures, "packed": [float(figures[name]) for name in INTENT_PACKED]}
