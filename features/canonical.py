"""The fast lane: shopper events in the form that we write ourselves, decoded in a third of the contract's time.

`canonical_event` accepts less than `UserEvent`: no unknown field, no coercion, no text that would be stripped, times
in UTC ending in Z with at most 6 digits of a second. None means "let the contract decide": it alone refuses.

    canonical_event(raw) is not None  =>  parse(UserEvent, raw) has equal values
    canonical_event(event.to_json()) is not None, for every UserEvent
"""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any, Literal, get_args

import msgspec
from msgspec import Meta, Raw, Struct
from pydantic import StringConstraints

from features.contract import EARLIEST, LATEST, Identifier, Locale, LongText, ShortText, Slug, Tenant, User, to_ms
from features.events import KINDS, MAX_EVENT_BYTES, REQUIRED, EventKind, OrderStatus, PageClass, UserEvent

_SPACE = "\t-\r \x85\xa0\u1680\u2000-\u200a\u2028\u2029\u202f\u205f\u3000"
"""What the contract strips from both ends of a text (Unicode's White_Space)."""


def _bounds(contract_type: Any) -> Meta:
    """A contract's text constraints, in msgspec's words: patterns searched by Python, ends spelt out."""
    told = next(note for note in get_args(contract_type) if isinstance(note, StringConstraints))
    if told.strip_whitespace:
        return Meta(pattern=rf"\A(?![{_SPACE}])(?s:.*)(?<![{_SPACE}])\Z", max_length=told.max_length)
    pattern = str(told.pattern)
    return Meta(pattern=rf"\A{pattern.removeprefix('^').removesuffix('$')}\Z")


_Identifier = Annotated[str, _bounds(Identifier)]
_Short = Annotated[str, _bounds(ShortText)]


class CanonicalData(Struct, frozen=True, gc=False, forbid_unknown_fields=True):
    """What an event tells: the fields of `EventData`."""

    page: PageClass | None = None
    path: Annotated[str, Meta(max_length=500)] | None = None
    query: _Short | None = None
    text: Annotated[str, _bounds(LongText)] | None = None
    topic: _Short | None = None
    item_title: _Short | None = None
    category: _Short | None = None
    quantity: Annotated[int, Meta(ge=0, le=10_000)] | None = None
    amount: Annotated[float, Meta(ge=0, le=10_000_000)] | None = None
    currency: Annotated[str, Meta(pattern=r"\A[A-Z]{3}\Z")] | None = None
    order_id: _Identifier | None = None
    order_status: OrderStatus | None = None
    delay_days: Annotated[float, Meta(ge=0, le=365)] | None = None
    carrier: _Short | None = None
    method: _Short | None = None
    error: _Short | None = None
    voucher: _Short | None = None
    change: _Short | None = None


_NOTHING_TOLD = CanonicalData()


class _Wire(Struct, frozen=True, gc=False, forbid_unknown_fields=True):
    id: _Identifier
    type: Annotated[str, _bounds(Slug)]
    time: Raw
    user: Annotated[str, _bounds(User)]
    specversion: Literal["1.0"] = "1.0"
    source: Annotated[str, Meta(max_length=200)] = "/shop"
    tenant: Annotated[str, _bounds(Tenant)] = "demo"
    locale: Annotated[str, _bounds(Locale)] = "en"
    data: CanonicalData = _NOTHING_TOLD


class CanonicalEvent(Struct, frozen=True, gc=False):
    """A shopper event from the fast lane, with the attributes of the `UserEvent` that the contract would give."""

    id: str
    source: str
    type: str
    kind: EventKind
    time: datetime
    time_ms: int
    tenant: str
    user: str
    key: str
    locale: str
    data: CanonicalData


ShopperEvent = UserEvent | CanonicalEvent
"""A valid event, whichever lane it came by."""

_decode = msgspec.json.Decoder(_Wire).decode
_decode_time = msgspec.json.Decoder(datetime).decode
_LONGEST_TIME = len('"2026-01-01T00:00:00.000000Z"')


def canonical_event(raw: bytes) -> CanonicalEvent | None:
    """The event in `raw` when it is in canonical form, else None: the contract decides (`parse(UserEvent, raw)`)."""
    if len(raw) > MAX_EVENT_BYTES:
        return None
    try:
        wire = _decode(raw)
        written = bytes(wire.time)
        time = _decode_time(written)
    except (msgspec.MsgspecError, ValueError):
        return None
    if len(written) > _LONGEST_TIME or written[-2:] != b'Z"' or not EARLIEST <= time <= LATEST:
        return None
    data, kind = wire.data, KINDS.get(wire.type, EventKind.OTHER)
    for name in REQUIRED.get(kind, ()):
        if getattr(data, name) is None:
            return None
    return CanonicalEvent(
        wire.id, wire.source, wire.type, kind, time, to_ms(time), wire.tenant, wire.user, f"{wire.tenant}:{wire.user}",
        wire.locale, data,
    )  # fmt: skip
