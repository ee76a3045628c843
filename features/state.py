"""What we know of one user: the bounded state that a fold over their events keeps, and the facts it supports.

The order of events in the log decides ties; otherwise an event that arrives out of order (but not late) is put
where its time belongs. The state of a user is at most 64 KiB as bytes (a test holds it): 20 recent events, 8 orders,
256 event ids, 17 counters, 3 texts and 3 failures, each text capped.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, NamedTuple, Self

import mmh3
import orjson

from features.events import EventKind, OrderStatus, UserEvent
from features.windows import DAY_MS, HOUR_MS, MINUTE_MS, added, decayed_count, is_new_session

SESSION_GAP_MS = 30 * MINUTE_MS
"""Silence after which the next event opens a session."""
ALLOWED_LATENESS_MS = HOUR_MS
"""How far behind its partition's watermark an event may be and still be applied."""
DEDUPE_WINDOW_MS = DAY_MS
"""How long an event id is remembered, in event time behind the watermark; never less than the allowed lateness, so
that a repeated event is either a duplicate or late, as long as a user has no more than `MAX_SEEN` events in it."""
ALLOWED_SKEW_MS = MINUTE_MS
"""How far a client's clock may run before the broker's."""
RECENT_MS = DAY_MS
"""How long an event supports the fact recent:<kind>."""

HALF_LIFE_SHORT_S = 600.0
HALF_LIFE_LONG_S = 86_400.0
MAX_RECENT, MAX_ORDERS, MAX_SEEN, MAX_TEXT, MAX_DETAIL = 20, 8, 256, 500, 120
_FORMAT = 1


class StateFormatError(ValueError):
    """A stored state that this program cannot read."""


class Verdict(StrEnum):
    """Where an event ended in the ledger."""

    APPLIED = "applied"
    LATE = "late"
    DUPLICATE = "duplicate"


class Tally(NamedTuple):
    """Decayed counts of one kind as of `last_ms`, the time of its newest event."""

    short: float
    long: float
    last_ms: int


class Recent(NamedTuple):
    """One past event: `detail` is what it said (search, topic, error, status, item), capped."""

    kind: str
    at_ms: int
    page: str
    detail: str


class Order(NamedTuple):
    """An order as last heard of; `delay_days` is 0 unless a delay was told."""

    status: str
    at_ms: int
    delay_days: float


class Failure(NamedTuple):
    """What failed last: `what` is the payment method or the voucher, `error` why."""

    what: str
    error: str
    at_ms: int


@dataclass(slots=True)
class UserState:
    """What a fold over one user's events knows; a fresh one knows nothing. Empty text and 0 ms mean never."""

    session_id: str = ""
    session_start_ms: int = 0
    session_events: int = 0
    last_ms: int = 0
    tallies: dict[str, Tally] = field(default_factory=dict)
    recent: list[Recent] = field(default_factory=list)
    orders: dict[str, Order] = field(default_factory=dict)
    failures: dict[str, Failure] = field(default_factory=dict)
    cart_quantity: int = 0
    cart_ms: int = 0
    last_search: str = ""
    last_search_ms: int = 0
    last_help_topic: str = ""
    last_help_ms: int = 0
    last_text: str = ""
    last_text_ms: int = 0
    locale: str = ""
    seen: dict[int, int] = field(default_factory=dict)
    prompts_in_session: int = 0
    last_prompt_ms: int = 0
    prompt_hash: str = ""

    @classmethod
    def from_bytes(cls, blob: bytes | None) -> Self:
        """The state that `to_bytes` wrote; None gives a fresh one. Raises `StateFormatError`."""
        if blob is None:
            return cls()
        raw = _decoded(blob)
        seen = raw.pop("seen")
        return cls(
            tallies={kind: _new(Tally, tally) for kind, tally in raw.pop("tallies").items()},
            recent=[_new(Recent, event) for event in raw.pop("recent")],
            orders={order_id: _new(Order, order) for order_id, order in raw.pop("orders").items()},
            failures={kind: _new(Failure, failure) for kind, failure in raw.pop("failures").items()},
            seen=dict(zip(seen[::2], seen[1::2], strict=True)),
            **raw,
        )

    def to_bytes(self) -> bytes:
        """The state as JSON bytes; equal states give equal bytes when they were folded from the same log."""
        raw: dict[str, Any] = {"v": _FORMAT}
        for name in _FIELDS:
            raw[name] = getattr(self, name)
        raw["tallies"] = {kind: tuple(tally) for kind, tally in self.tallies.items()}
        raw["recent"] = [tuple(event) for event in self.recent]
        raw["seen"] = [number for pair in self.seen.items() for number in pair]
        return orjson.dumps(raw, default=tuple)

    def count(self, kind: EventKind, half_life_s: float, now_ms: int) -> float:
        """The decayed count of `kind` at `now_ms` for one of the two half-lives kept (600 s or 86,400 s)."""
        tally = self.tallies.get(kind)
        if tally is None:
            return 0.0
        count = tally.short if half_life_s == HALF_LIFE_SHORT_S else tally.long
        return decayed_count(count, (now_ms - tally.last_ms) / 1000, half_life_s)

    def last_kind_ms(self, kind: EventKind) -> int:
        """When `kind` last happened; 0 means never."""
        tally = self.tallies.get(kind)
        return 0 if tally is None else tally.last_ms

    def newest_order(self) -> tuple[str, Order] | None:
        """The order heard of last, with its id."""
        return max(self.orders.items(), key=_by_time, default=None)

    def newest_failure(self) -> Failure | None:
        """The failure of a payment, voucher or sign-in heard of last."""
        return max(self.failures.values(), key=lambda failure: failure.at_ms, default=None)

    def prompted(self, at_ms: int) -> None:
        """Counts a prompt that was offered in this session."""
        self.prompts_in_session += 1
        self.last_prompt_ms = max(self.last_prompt_ms, at_ms)


_FIELDS = tuple(UserState.__slots__)
_new = tuple.__new__  # a named tuple from a list of its fields, half the time of calling its class


def _decoded(blob: bytes) -> dict[str, Any]:
    try:
        raw: dict[str, Any] = orjson.loads(blob)
        version = raw.pop("v")
    except (orjson.JSONDecodeError, KeyError, TypeError, AttributeError) as error:
        raise StateFormatError(
            f"a user state of {len(blob)} bytes is not the JSON this program writes ({error}): another program wrote "
            "under this prefix; choose another RGALIGN_PREFIX"
        ) from error
    if version != _FORMAT:
        raise StateFormatError(
            f"a user state has format {version}, this program reads {_FORMAT}: run the worker that wrote it, or "
            "rebuild the state from the log under a new RGALIGN_PREFIX"
        )
    return raw


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
        del state.orders[min(state.orders.items(), key=_by_time)[0]]


def _by_time(item: tuple[str, Order]) -> tuple[int, str]:
    return item[1].at_ms, item[0]


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


def facts(state: UserState, now_ms: int) -> frozenset[str]:
    """What is true of the user now, in the words of `features.intent.FACT_NAMES`."""
    true = {f"recent:{kind}" for kind, tally in state.tallies.items() if now_ms - tally.last_ms <= RECENT_MS}
    true.discard("recent:other")
    if state.orders:
        true.add("order:any")
        true.update(f"order:{order.status}" for order in state.orders.values())
    if state.cart_quantity > 0:
        true.add("cart:nonempty")
    return frozenset(true)
