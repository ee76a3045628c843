"""Records that cannot be applied, set aside with their original bytes and the reason why.

A dead letter has the key, value and timestamp of its record, untouched. Its own headers follow the names of KIP-1034
(`__streams.errors.*`) and add `rgalign.reason`, a short stable code, and `rgalign.time`. The record's headers stay.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Sequence
from typing import Any

import structlog

from features.contract import InvalidEvent
from features.notices import DeadLetter
from stream.batching import Record
from stream.telemetry import DEAD_LETTERS

log = structlog.get_logger(__name__)

MAX_DETAIL = 1000
_ERRORS = "__streams.errors."
_FIELDS = {
    "rgalign.reason": "reason",
    f"{_ERRORS}message": "detail",
    f"{_ERRORS}topic": "topic",
    f"{_ERRORS}partition": "partition",
    f"{_ERRORS}offset": "offset",
    "rgalign.time": "time",
}


def headers(letter: DeadLetter) -> list[tuple[str, bytes]]:
    """A dead letter's own headers."""
    told = letter.model_dump(mode="json")
    return [(header, str(told[field]).encode(errors="replace")) for header, field in _FIELDS.items()]


def letter_of(found: Iterable[tuple[str, bytes]]) -> DeadLetter:
    """Why a record was set aside, from its headers. Raises `InvalidEvent` when they are not ours."""
    told = {_FIELDS[name]: value.decode(errors="replace") for name, value in found if name in _FIELDS}
    try:
        return DeadLetter.model_validate(told)
    except ValueError as error:
        raise InvalidEvent("not_a_dead_letter", f"headers {sorted(told)}: {error}") from None


class DeadLetters:
    """Writes to one dead-letter topic through an aiokafka producer."""

    def __init__(self, producer: Any, topic: str) -> None:
        self._producer = producer
        self._topic = topic

    async def set_aside(self, letters: Sequence[tuple[Record, DeadLetter]]) -> None:
        """Appends the records and waits for all acknowledgements. Raises the producer's error when one fails."""
        sent = [await self._send(record, letter) for record, letter in letters]
        await asyncio.gather(*sent)
        for _, letter in letters:
            DEAD_LETTERS.labels(topic=letter.topic, reason=letter.reason).inc()
            log.warning("dead_letter", at=letter.origin, reason=letter.reason)  # the detail quotes what a shopper sent

    async def _send(self, record: Record, letter: DeadLetter) -> asyncio.Future[Any]:
        foreign = [(name, value) for name, value in record.headers if name not in _FIELDS]
        future: asyncio.Future[Any] = await self._producer.send(
            self._topic,
            record.value,
            key=record.key,
            timestamp_ms=max(record.timestamp_ms, 0),
            headers=[*foreign, *headers(letter)],
        )
        return future
