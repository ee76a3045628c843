"""The fold: one event added to what is known of its user, exactly once, and where it ended.

The watermark rule. Each input partition has a watermark: the newest effective event time among its records so far,
in the order of the log. An event is late when it is more than `ALLOWED_LATENESS_MS` behind the watermark of its own
partition as it stood before it. Nothing but the log moves a watermark, so a replay gives the same verdicts on any
number of workers; no partition waits for another, so an idle one stalls nobody; and an event dated far ahead counts
as of the broker's time + 60 s, so it cannot make everything behind it late.
"""

from __future__ import annotations

from collections.abc import Callable

from features.canonical import ShopperEvent
from features.dedupe import event_identity, forget, is_known, remember
from features.events import EventKind, OrderStatus, PageClass
from features.state import (
    ALLOWED_LATENESS_MS,
    ALLOWED_SKEW_MS,
    DEDUPE_WINDOW_MS,
    MAX_DETAIL,
    MAX_ORDERS,
    MAX_RECENT,
    MAX_SEEN,
    MAX_TEXT,
    SESSION_GAP_MS,
    Failure,
    Order,
    Recent,
    UserState,
    Verdict,
    by_time,
)
from features.windows import Tally, add_to_tiles, is_new_session


def effective_ms(event_ms: int, log_ms: int) -> int:
    """The event time that is believed: a client's clock, but at most 60 s after the broker's.

    It is at least 1 ms, for 0 means never.

    >>> effective_ms(1_000, log_ms=5_000), effective_ms(10**13, log_ms=5_000)
    (1000, 65000)
    """
    return max(min(event_ms, log_ms + ALLOWED_SKEW_MS), 1)


def is_late(at_ms: int, watermark_ms: int) -> bool:
    """Whether an event of `at_ms` comes too late for its partition's watermark.

    >>> is_late(0, watermark_ms=3_600_000), is_late(0, watermark_ms=3_600_001)
    (False, True)
    """
    return at_ms < watermark_ms - ALLOWED_LATENESS_MS


def fold(state: UserState, event: ShopperEvent, at_ms: int, watermark_ms: int) -> Verdict:
    """Adds `event` to `state` in place and says where it ended; only an applied event changes anything.

    `at_ms` is the event's `effective_ms`, `watermark_ms` its partition's watermark before it. Duplicate: its id was
    applied within `DEDUPE_WINDOW_MS` (and among the last `MAX_SEEN`).
    """
    identity = event_identity(event.id)
    if is_known(state.seen_ids, identity):
        return Verdict.DUPLICATE
    if is_late(at_ms, watermark_ms):
        return Verdict.LATE
    remember(state.seen_ids, state.seen_s, identity, at_ms)
    forget(state.seen_ids, state.seen_s, watermark_ms - DEDUPE_WINDOW_MS, MAX_SEEN)
    _advance_session(state, at_ms)
    kind = event.kind
    name = _KIND_NAME[kind]
    old = state.tallies.get(name)
    state.tallies[name] = Tally.first(at_ms) if old is None else old.plus(at_ms)
    add_to_tiles(state.tiles, at_ms)
    _list_recent(state.recent, event, name, at_ms)
    if (effect := _EFFECTS.get(kind)) is not None:
        effect(state, event, at_ms)
    _note_text(state, event, at_ms)
    if at_ms >= state.last_ms:
        state.locale, state.last_ms = event.locale, at_ms
    return Verdict.APPLIED


def _advance_session(state: UserState, at_ms: int) -> None:
    if is_new_session(state.last_ms, at_ms, SESSION_GAP_MS):
        state.session_start_ms = at_ms
        state.session_events = 0
        state.prompts_in_session = 0
    if at_ms >= state.session_start_ms:
        state.session_events += 1


def _list_recent(recent: list[Recent], event: ShopperEvent, name: str, at_ms: int) -> None:
    place = 0
    while place < len(recent) and recent[place].at_ms > at_ms:
        place += 1
    if place < MAX_RECENT:
        page = event.data.page
        recent.insert(place, Recent(name, at_ms, "" if page is None else _PAGE_NAME[page], _detail(event)))
        del recent[MAX_RECENT:]


def _detail(event: ShopperEvent) -> str:
    data = event.data
    told = (
        data.query or data.topic or data.text or data.error or data.item_title or data.order_status
        or data.change or data.category or ""
    )  # fmt: skip
    return str(told)[:MAX_DETAIL]


def _note_text(state: UserState, event: ShopperEvent, at_ms: int) -> None:
    data = event.data
    if data.query and at_ms >= state.last_search_ms:
        state.last_search, state.last_search_ms = data.query[:MAX_TEXT], at_ms
    if data.topic and at_ms >= state.last_help_ms:
        state.last_help_topic, state.last_help_ms = data.topic[:MAX_TEXT], at_ms
    if data.text and at_ms >= state.last_text_ms:
        state.last_text, state.last_text_ms = data.text[:MAX_TEXT], at_ms


def _set_cart(state: UserState, event: ShopperEvent, at_ms: int) -> None:
    if at_ms >= state.cart_ms:
        state.cart_quantity, state.cart_ms = event.data.quantity or 0, at_ms


def _update_order(state: UserState, event: ShopperEvent, at_ms: int) -> None:
    order_id, status = event.data.order_id or "", _STATUS_OF.get(event.kind) or event.data.order_status
    old = state.orders.get(order_id)
    if status is None or (old is not None and at_ms < old.at_ms):
        return
    told = event.data.delay_days
    delay_days = told if told is not None else (old.delay_days if old is not None else 0.0)
    state.orders[order_id] = Order(status.value, at_ms, float(delay_days))
    if len(state.orders) > MAX_ORDERS:
        del state.orders[min(state.orders.items(), key=by_time)[0]]


def _place_order(state: UserState, event: ShopperEvent, at_ms: int) -> None:
    _update_order(state, event, at_ms)
    if at_ms >= state.cart_ms:
        state.cart_quantity, state.cart_ms = 0, at_ms


def _fail(state: UserState, event: ShopperEvent, at_ms: int) -> None:
    name = _KIND_NAME[event.kind]
    old = state.failures.get(name)
    if old is None or at_ms >= old.at_ms:
        what = (event.data.method or event.data.voucher or "")[:MAX_DETAIL]
        state.failures[name] = Failure(what, (event.data.error or "")[:MAX_DETAIL], at_ms)


_KIND_NAME = {kind: kind.value for kind in EventKind}
_PAGE_NAME = {page: page.value for page in PageClass}
_STATUS_OF = {
    EventKind.ORDER_PLACED: OrderStatus.PLACED,
    EventKind.PARCEL_DELAYED: OrderStatus.DELAYED,
    EventKind.RETURN_REQUESTED: OrderStatus.RETURN_REQUESTED,
    EventKind.REFUND_ISSUED: OrderStatus.REFUNDED,
}
_EFFECTS: dict[EventKind, Callable[[UserState, ShopperEvent, int], None]] = {
    EventKind.CART_UPDATED: _set_cart,
    EventKind.ORDER_PLACED: _place_order,
    EventKind.ORDER_STATUS_CHANGED: _update_order,
    EventKind.PARCEL_DELAYED: _update_order,
    EventKind.RETURN_REQUESTED: _update_order,
    EventKind.REFUND_ISSUED: _update_order,
    EventKind.PAYMENT_FAILED: _fail,
    EventKind.VOUCHER_REJECTED: _fail,
    EventKind.SIGN_IN_FAILED: _fail,
}
