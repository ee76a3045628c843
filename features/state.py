"""What we know of one user: the bounded state that a fold over their events keeps, and the facts it supports.

The order of events in the log decides ties; otherwise an event that arrives out of order (but not late) is put
where its time belongs. The state of a user is at most 64 KiB as bytes (a test holds it): 20 recent events, 8 orders,
256 event ids, 17 tallies, 70 tiles, 3 texts and 3 failures, each text capped.
"""

from __future__ import annotations

from enum import StrEnum

import msgspec
from msgspec import Struct

from features.events import EventKind
from features.windows import DAY_MS, HOUR_MS, MINUTE_MS, TILINGS, Tally, Tiles, count_in_tiles

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

MAX_RECENT, MAX_ORDERS, MAX_SEEN, MAX_TEXT, MAX_DETAIL = 20, 8, 256, 500, 120
_FORMAT = 2


class StateFormatError(ValueError):
    """A stored state that this program cannot read."""


class Verdict(StrEnum):
    """Where an event ended in the ledger."""

    APPLIED = "applied"
    LATE = "late"
    DUPLICATE = "duplicate"


class Recent(Struct, array_like=True, frozen=True, gc=False, forbid_unknown_fields=True):
    """One past event: `detail` is what it said (search, topic, error, status, item), capped."""

    kind: str
    at_ms: int
    page: str
    detail: str


class Order(Struct, array_like=True, frozen=True, gc=False, forbid_unknown_fields=True):
    """An order as last heard of; `delay_days` is 0 unless a delay was told."""

    status: str
    at_ms: int
    delay_days: float


class Failure(Struct, array_like=True, frozen=True, gc=False, forbid_unknown_fields=True):
    """What failed last: `what` is the payment method or the voucher, `error` why."""

    what: str
    error: str
    at_ms: int


class UserState(Struct, array_like=True, gc=False, tag=_FORMAT, forbid_unknown_fields=True):
    """What a fold over one user's events knows; a fresh one knows nothing. Empty text and 0 ms mean never.

    `tiles` holds the counts of all events, one list for each window of `TILINGS` (see `windows.add_to_tiles`);
    `seen_ids` and `seen_s` are the dedupe window (see `features.dedupe`).
    """

    session_start_ms: int = 0
    session_events: int = 0
    last_ms: int = 0
    tallies: dict[str, Tally] = {}
    tiles: tuple[Tiles, Tiles, Tiles, Tiles] = msgspec.field(default_factory=lambda: ([], [], [], []))
    recent: list[Recent] = []
    orders: dict[str, Order] = {}
    failures: dict[str, Failure] = {}
    cart_quantity: int = 0
    cart_ms: int = 0
    last_search: str = ""
    last_search_ms: int = 0
    last_help_topic: str = ""
    last_help_ms: int = 0
    last_text: str = ""
    last_text_ms: int = 0
    locale: str = ""
    seen_ids: bytearray = msgspec.field(default_factory=bytearray)
    seen_s: bytearray = msgspec.field(default_factory=bytearray)
    prompts_in_session: int = 0
    last_prompt_ms: int = 0
    prompt_hash: str = ""

    @classmethod
    def from_bytes(cls, blob: bytes | None) -> UserState:
        """The state that `to_bytes` wrote; None gives a fresh one. Raises `StateFormatError`."""
        if blob is None:
            return cls()
        try:
            return _decode(blob)
        except (msgspec.MsgspecError, ValueError) as error:
            raise _unreadable(blob, error) from error

    def to_bytes(self) -> bytes:
        """The state as msgpack bytes; equal states give equal bytes when they were folded from the same log."""
        return _encode(self)

    @property
    def session_id(self) -> str:
        """The session's name, after its first event; empty before any."""
        return f"s{self.session_start_ms}" if self.session_start_ms else ""

    def count(self, kind: EventKind, half_life_s: float, now_ms: int) -> float:
        """The decayed count of `kind` at `now_ms`, for one of `HALF_LIVES_S`."""
        tally = self.tallies.get(kind)
        return 0.0 if tally is None else tally.count(half_life_s, now_ms)

    def events_within(self, window_s: float, now_ms: int) -> int:
        """The tiled count of all events in one of the windows of `TILINGS`, up to `now_ms` (or `last_ms`, if later)."""
        place = _WINDOW_PLACE.get(window_s)
        if place is None:
            raise ValueError(f"no window of {window_s} s is kept: ask for one of {tuple(TILINGS)} s")
        return count_in_tiles(self.tiles[place], now_ms, TILINGS[window_s])

    def last_kind_ms(self, kind: EventKind) -> int:
        """When `kind` last happened; 0 means never."""
        tally = self.tallies.get(kind)
        return 0 if tally is None else tally.last_ms

    def newest_order(self) -> tuple[str, Order] | None:
        """The order heard of last, with its id."""
        return max(self.orders.items(), key=by_time, default=None) if self.orders else None

    def newest_failure(self) -> Failure | None:
        """The failure of a payment, voucher or sign-in heard of last."""
        return max(self.failures.values(), key=lambda failure: failure.at_ms, default=None)

    def prompted(self, at_ms: int) -> None:
        """Counts a prompt that was offered in this session."""
        self.prompts_in_session += 1
        self.last_prompt_ms = max(self.last_prompt_ms, at_ms)


_WINDOW_PLACE = {window_s: place for place, window_s in enumerate(TILINGS)}
_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(UserState).decode


def _unreadable(blob: bytes, error: Exception) -> StateFormatError:
    try:
        told = msgspec.msgpack.decode(blob)
        version = told[0] if isinstance(told, list) and told else "unknown"
    except (msgspec.MsgspecError, ValueError):
        version = "unknown"
    return StateFormatError(
        f"a user state of {len(blob)} bytes has format {version}, this program reads {_FORMAT} ({error}): run the "
        "worker that wrote it, or rebuild the state from the log under a new RGALIGN_PREFIX"
    )


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
