"""What we know of one user: the bounded state that a fold over their events keeps, and the facts it supports.

The order of events in the log decides ties; otherwise an event that arrives out of order (but not late) is put
where its time belongs. The state of a user is at most 64 KiB as bytes (a test holds it): 20 recent events, 8 orders,
256 event ids, 17 counters, 3 texts and 3 failures, each text capped.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, NamedTuple, Self

import orjson

from features.events import EventKind
from features.windows import DAY_MS, HOUR_MS, MINUTE_MS, decayed_count

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
        return max(self.orders.items(), key=by_time, default=None)

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


def by_time(item: tuple[str, Order]) -> tuple[int, str]:
    """Sorts orders by when they were heard of, then by id."""
    return item[1].at_ms, item[0]


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
