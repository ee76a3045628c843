"""The fold: one event added to what is known of its user, exactly once, and where it ended."""

from __future__ import annotations

import mmh3

from features.events import EventKind, OrderStatus, UserEvent
from features.state import (
    ALLOWED_LATENESS_MS,
    ALLOWED_SKEW_MS,
    DEDUPE_WINDOW_MS,
    HALF_LIFE_LONG_S,
    HALF_LIFE_SHORT_S,
    MAX_DETAIL,
    MAX_ORDERS,
    MAX_RECENT,
    MAX_SEEN,
    MAX_TEXT,
    SESSION_GAP_MS,
    Failure,
    Order,
    Recent,
    Tally,
    UserState,
    Verdict,
    by_time,
)
from features.windows import added, is_new_session


def effective_ms(event_ms: int, log_ms: int) -> int:
    """The event time that is believed: a client's clock, but at most 60 s after the broker's.

    >>> effective_ms(1_000, log_ms=5_000), effective_ms(10**13, log_ms=5_000)
    (1000, 65000)
    """
    return min(event_ms, log_ms + ALLOWED_SKEW_MS)


def fold(state: UserState, event: UserEvent, at_ms: int, watermark_ms: int) -> Verdict:
    """Adds `event` to `state` in place and says where it ended; only an applied event changes anything.

    `at_ms` is the event's `effective_ms`. Duplicate: its id was applied within `DEDUPE_WINDOW_MS` (and among the
    last `MAX_SEEN`). Late: at_ms < watermark_ms - `ALLOWED_LATENESS_MS`. Ids are kept as 64-bit hashes: two different
    ids of one user meet with probability < 2e-15 in a full window.
    """
    identity = event_identity(event.id)
    if identity in state.seen:
        return Verdict.DUPLICATE
    if at_ms < watermark_ms - ALLOWED_LATENESS_MS:
        return Verdict.LATE
    _remember(state.seen, identity, at_ms, watermark_ms)
    _advance_session(state, at_ms)
    kind = event.kind
    _tally(state.tallies, kind, at_ms)
    _list_recent(state.recent, event, kind, at_ms)
    if kind in _EFFECTS:
        _EFFECTS[kind](state, event, at_ms)
    _note_text(state, event, at_ms)
    if at_ms >= state.last_ms:
        state.locale, state.last_ms = event.locale, at_ms
    return Verdict.APPLIED


def event_identity(event_id: str) -> int:
    """64 bits that stand for an event id in the dedupe window."""
    return int(mmh3.hash64(event_id, signed=False)[0])


def _remember(seen: dict[int, int], identity: int, at_ms: int, watermark_ms: int) -> None:
    seen[identity] = at_ms
    expired_ms = watermark_ms - DEDUPE_WINDOW_MS
    while True:
        oldest = next(iter(seen))
        if oldest == identity or (len(seen) <= MAX_SEEN and seen[oldest] >= expired_ms):
            return
        del seen[oldest]


def _advance_session(state: UserState, at_ms: int) -> None:
    if is_new_session(state.last_ms, at_ms, SESSION_GAP_MS):
        state.session_id = f"s{at_ms}"
        state.session_start_ms = at_ms
        state.session_events = 0
        state.prompts_in_session = 0
    if at_ms >= state.session_start_ms:
        state.session_events += 1


def _tally(tallies: dict[str, Tally], kind: EventKind, at_ms: int) -> None:
    old = tallies.get(kind)
    if old is None:
        tallies[kind.value] = Tally(1.0, 1.0, at_ms)
        return
    short, last_ms = added(old.short, old.last_ms, at_ms, HALF_LIFE_SHORT_S)
    long, _ = added(old.long, old.last_ms, at_ms, HALF_LIFE_LONG_S)
    tallies[kind.value] = Tally(short, long, last_ms)


def _list_recent(recent: list[Recent], event: UserEvent, kind: EventKind, at_ms: int) -> None:
    place = 0
    while place < len(recent) and recent[place].at_ms > at_ms:
        place += 1
    if place < MAX_RECENT:
        page = "" if event.data.page is None else event.data.page.value
        recent.insert(place, Recent(kind.value, at_ms, page, _detail(event)))
        del recent[MAX_RECENT:]


def _detail(event: UserEvent) -> str:
    data = event.data
    told = (
        data.query or data.topic or data.text or data.error or data.item_title or data.order_status
        or data.change or data.category or ""
    )  # fmt: skip
    return str(told)[:MAX_DETAIL]


def _note_text(state: UserState, event: UserEvent, at_ms: int) -> None:
    data = event.data
    if data.query and at_ms >= state.last_search_ms:
        state.last_search, state.last_search_ms = data.query[:MAX_TEXT], at_ms
    if data.topic and at_ms >= state.last_help_ms:
        state.last_help_topic, state.last_help_ms = data.topic[:MAX_TEXT], at_ms
    if data.text and at_ms >= state.last_text_ms:
        state.last_text, state.last_text_ms = data.text[:MAX_TEXT], at_ms


def _set_cart(state: UserState, event: UserEvent, at_ms: int) -> None:
    if at_ms >= state.cart_ms:
        state.cart_quantity, state.cart_ms = event.data.quantity or 0, at_ms


def _update_order(state: UserState, event: UserEvent, at_ms: int) -> None:
    order_id, status = event.data.order_id or "", _STATUS_OF.get(event.kind) or event.data.order_status
    old = state.orders.get(order_id)
    if status is None or (old is not None and at_ms < old.at_ms):
        return
    told = event.data.delay_days
    delay_days = told if told is not None else (old.delay_days if old is not None else 0.0)
    state.orders[order_id] = Order(status.value, at_ms, float(delay_days))
    if len(state.orders) > MAX_ORDERS:
        del state.orders[min(state.orders.items(), key=by_time)[0]]


def _place_order(state: UserState, event: UserEvent, at_ms: int) -> None:
    _update_order(state, event, at_ms)
    if at_ms >= state.cart_ms:
        state.cart_quantity, state.cart_ms = 0, at_ms


def _fail(state: UserState, event: UserEvent, at_ms: int) -> None:
    old = state.failures.get(event.kind)
    if old is None or at_ms >= old.at_ms:
        what = (event.data.method or event.data.voucher or "")[:MAX_DETAIL]
        state.failures[event.kind.value] = Failure(what, (event.data.error or "")[:MAX_DETAIL], at_ms)


_STATUS_OF = {
    EventKind.ORDER_PLACED: OrderStatus.PLACED,
    EventKind.PARCEL_DELAYED: OrderStatus.DELAYED,
    EventKind.RETURN_REQUESTED: OrderStatus.RETURN_REQUESTED,
    EventKind.REFUND_ISSUED: OrderStatus.REFUNDED,
}
_EFFECTS = {
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
