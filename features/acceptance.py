"""Which records are taken in: a message that keeps its contract, under its own key; the rest is dead-lettered."""

from __future__ import annotations

from typing import TypeVar

from features.contract import InvalidEvent, parse
from features.events import Decision, Outcome, QueryRequested, UserEvent

Keyed = TypeVar("Keyed", UserEvent, Decision, Outcome, QueryRequested)


def accepted(contract: type[Keyed], key: bytes | None, value: bytes | None) -> Keyed:
    """The message of a record. Raises `InvalidEvent`: `empty`, `wrong_key`, or a reason of `features.contract.parse`.

    >>> accepted(QueryRequested, b"demo:u1", None)
    Traceback (most recent call last):
    ...
    features.contract.InvalidEvent: QueryRequested: the record has no value; expected a JSON object
    """
    if value is None:
        raise InvalidEvent("empty", f"{contract.__name__}: the record has no value; expected a JSON object")
    message = parse(contract, value)
    if key != message.key.encode():
        raise InvalidEvent(
            "wrong_key",
            f"{contract.__name__}: the record's key is {(key or b'')[:200]!r}, expected {message.key!r}: state is kept "
            "by partition, so the key must be tenant:user; send events through the gateway, or set the key",
        )
    return message
