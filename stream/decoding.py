"""A batch of raw records as valid messages with their event times and watermarks, and dead letters for the rest."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Generic, Protocol, TypeVar

from msgspec import Struct

from features.contract import InvalidEvent
from features.fold import effective_ms
from features.notices import DeadLetter
from stream.batching import Batch, Record
from stream.dead_letters import MAX_DETAIL


class _Timed(Protocol):
    @property
    def time_ms(self) -> int: ...


Message = TypeVar("Message", bound=_Timed)
Accept = Callable[[bytes | None, bytes | None], Message]
"""Gives the message of a record's (key, value). Raises `InvalidEvent`."""


class Item(Struct, Generic[Message], frozen=True, gc=False):
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
    accept: Accept[Message],
    watermark_ms: int,
    now: datetime,
    refused: Mapping[int, InvalidEvent] | None = None,
) -> Decoded[Message]:
    """The messages of a batch that `accept` takes. `refused`: offsets that turned out to be unfit later, and why."""
    items: list[Item[Message]] = []
    letters: list[tuple[Record, DeadLetter]] = []
    for record in batch.records:
        try:
            if refused and record.offset in refused:
                raise refused[record.offset]
            message = accept(record.key, record.value)
        except InvalidEvent as error:
            letters.append((record, _letter(batch, record, error, now)))
            continue
        at_ms = effective_ms(message.time_ms, record.timestamp_ms)
        items.append(Item(record, message, at_ms, watermark_ms))
        watermark_ms = max(watermark_ms, at_ms)
    return Decoded(items, letters, watermark_ms)


def _letter(batch: Batch, record: Record, error: InvalidEvent, now: datetime) -> DeadLetter:
    return DeadLetter(
        reason=error.reason,
        detail=str(error)[:MAX_DETAIL],
        topic=batch.topic,
        partition=batch.partition,
        offset=record.offset,
        time=now,
    )
