"""Which records are taken in: a message that keeps its contract, under its own key; the rest is dead-lettered."""

from __future__ import annotations

from typing import Protocol, TypeVar

from features.canonical import ShopperEvent, canonical_event
from features.contract import InvalidEvent, parse
from features.decisions import Decision, Outcome
from features.events import UserEvent
from features.notices import QueryRequested


class _HasKey(Protocol):
    @property
    def key(self) -> str: ...


Keyed = TypeVar("Keyed", UserEvent, Decision, Outcome, QueryRequested)
Message = TypeVar("Message", bound=_HasKey)


def accepted(contract: type[Keyed], key: bytes | None, value: bytes | None) -> Keyed:
    """The message of a record. Raises `InvalidEvent`: `empty`, `wrong_key`, or a reason of `features.contract.parse`.

    >>> accepted(QueryRequested, b"demo:u1", None)
    Traceback (most recent call last):
    ...
    features.contract.InvalidEvent: QueryRequested: the record has no value; expected a JSON object
    """
    if value is None:
        raise InvalidEvent("empty", f"{contract.__name__}: the record has no value; expected a JSON object")
    return _under_its_key(parse(contract, value), contract.__name__, key)


def accepted_event(key: bytes | None, value: bytes | None) -> ShopperEvent:
    """`accepted(UserEvent, key, value)`, by the fast lane where the event is canonical."""
    event = None if value is None else canonical_event(value)
    return accepted(UserEvent, key, value) if event is None else _under_its_key(event, "UserEvent", key)


def _under_its_key(message: Message, name: str, key: bytes | None) -> Message:
    if key != message.key.encode():
        raise InvalidEvent(
            "wrong_key",
            f"{name}: the record's key is {(key or b'')[:200]!r}, expected {message.key!r}: state is kept by "
            "partition, so the key must be tenant:user; send events through the gateway, or set the key",
        )
    return message
