"""The fast lane: shopper events in the form that we write ourselves, decoded in about half of the contract's time.

`canonical_event` accepts less than `UserEvent`: no unknown field, no coercion, no text that would be stripped, times
in UTC ending in Z with at most 6 digits of a second. None means "let the contract decide": it alone refuses.

    canonical_event(raw) is not None  =>  parse(UserEvent, raw) has equal values
    canonical_event(event.to_json()) is not None, for every UserEvent
"""

from __future__ import annotations

import re
from datetime import datetime
from typing import Annotated, Any, Literal, get_args

import msgspec
from msgspec import Meta, Raw, Struct
from pydantic import StringConstraints

from features.contract import EARLIEST, LATEST, Identifier, Locale, LongText, ShortText, Slug, Tenant, User, to_ms
from features.events import KINDS, MAX_EVENT_BYTES, REQUIRED, EventKind, OrderStatus, PageClass, UserEvent

_SPACE = "\t-\r \x85\xa0\u1680\u2000-\u200a\u2028\u2029\u202f\u205f\u3000"
"""What the contract strips from both ends of a text (Unicode's White_Space), as a class of a pattern."""


def _told(contract_type: Any) -> StringConstraints:
    return next(note for note in get_args(contract_type) if isinstance(note, StringConstraints))


def _pattern(contract_type: Any) -> str:
    """A contract's pattern without its ends."""
    return str(_told(contract_type).pattern).removeprefix("^").removesuffix("$")


def _stripped(contract_type: Any) -> Meta:
    """The bounds of a text that the contract would leave as it is."""
    return Meta(pattern=rf"\A(?![{_SPACE}])(?s:.*)(?<![{_SPACE}])\Z", max_length=_told(contract_type).max_length)


_Short = Annotated[str, _stripped(ShortText)]


class CanonicalData(Struct, frozen=True, gc=False, forbid_unknown_fields=True):
    """What an event tells: the fields of `EventData`."""

    page: PageClass | None = None
    path: Annotated[str, Meta(max_length=500)] | None = None
    query: _Short | None = None
    text: Annotated[str, _stripped(LongText)] | None = None
    topic: _Short | None = None
    item_title: _Short | None = None
    category: _Short | None = None
    quantity: Annotated[int, Meta(ge=0, le=10_000)] | None = None
    amount: Annotated[float, Meta(ge=0, le=10_000_000)] | None = None
    currency: Annotated[str, Meta(pattern=r"\A[A-Z]{3}\Z")] | None = None
    order_id: Annotated[str, Meta(pattern=rf"\A{_pattern(Identifier)}\Z")] | None = None
    order_status: OrderStatus | None = None
    delay_days: Annotated[float, Meta(ge=0, le=365)] | None = None
    carrier: _Short | None = None
    method: _Short | None = None
    error: _Short | None = None
    voucher: _Short | None = None
    change: _Short | None = None


_NOTHING_TOLD = CanonicalData()


class _Wire(Struct, frozen=True, gc=False, forbid_unknown_fields=True):
    id: str
    type: str
    time: Raw
    user: str
    specversion: Literal["1.0"] = "1.0"
    source: Annotated[str, Meta(max_length=200)] = "/shop"
    tenant: str = "demo"
    locale: str = "en"
    data: CanonicalData = _NOTHING_TOLD


_has_valid_names = re.compile(" ".join(map(_pattern, (Tenant, User, Identifier, Slug, Locale)))).fullmatch
"""Tenant, user, id, type and locale in one search: none of them may hold a blank, so they cannot run together."""


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
    tenant, user, event_id, told = wire.tenant, wire.user, wire.id, wire.type
    if _has_valid_names(f"{tenant} {user} {event_id} {told} {wire.locale}") is None:
        return None
    kind = KINDS.get(told, EventKind.OTHER)
    for name in REQUIRED.get(kind, ()):
        if getattr(wire.data, name) is None:
            return None
    return CanonicalEvent(
        event_id, wire.source, told, kind, time, to_ms(time), tenant, user, f"{tenant}:{user}", wire.locale, wire.data
    )
