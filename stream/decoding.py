"""A batch of raw records as valid messages with their event times and watermarks, and dead letters for the rest."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Generic, NamedTuple, TypeVar

from features.contract import InvalidEvent, parse, to_ms
from features.events import DeadLetter, Outcome, UserEvent
from features.fold import effective_ms
from stream.batching import Batch, Record
from stream.dead_letters import MAX_DETAIL

Message = TypeVar("Message", UserEvent, Outcome)


class Item(NamedTuple, Generic[Message]):
    """A valid message: the event time that is believed, and its partition's watermark before it, both in ms."""

    record: Record
    message: Message
    at_ms: int
    watermark_ms: int


@dataclass(frozen=True, slots=True)
class Decoded(Generic[Message]):
    """What a batch holds: `items` in the order of the log, `letters` for the rest, the watermark after all of it."""

    items: list[Item[Message]]
    letters: list[tuple[Record, DeadLetter]]
    watermark_ms: int


def decode(
    batch: Batch,
    contract: type[Message],
    watermark_ms: int,
    now: datetime,
    refused: Mapping[int, InvalidEvent] | None = None,
) -> Decoded[Message]:
    """The messages of a batch. `refused` names offsets that turned out to be unfit later, and why."""
    items: list[Item[Message]] = []
    letters: list[tuple[Record, DeadLetter]] = []
    for record in batch.records:
        try:
            if refused and record.offset in refused:
                raise refused[record.offset]
            message = _message(record, contract)
        except InvalidEvent as error:
            letters.append((record, _letter(batch, record, error, now)))
            continue
        at_ms = effective_ms(to_ms(message.time), record.timestamp_ms)
        items.append(Item(record, message, at_ms, watermark_ms))
        watermark_ms = max(watermark_ms, at_ms)
    return Decoded(items, letters, watermark_ms)


def _message(record: Record, contract: type[Message]) -> Message:
    if record.value is None:
        raise InvalidEvent("empty", f"{contract.__name__}: the record has no value; expected a JSON object")
    message = parse(contract, record.value)
    key = message.key
    if record.key != key.encode():
        raise InvalidEvent(
            "wrong_key",
            f"{contract.__name__}: the record's key is {(record.key or b'')[:200]!r}, expected {key!r}: state is kept "
            "by partition, so the key must be tenant:user; send events through the gateway, or set the key",
        )
    return message


def _letter(batch: Batch, record: Record, error: InvalidEvent, now: datetime) -> DeadLetter:
    return DeadLetter(
        reason=error.reason,
        detail=str(error)[:MAX_DETAIL],
        topic=batch.topic,
        partition=batch.partition,
        offset=record.offset,
        time=now,
    )
