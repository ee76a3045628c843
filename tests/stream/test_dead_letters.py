"""Dead letters keep their bytes, say why, and can be read back."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from deploy.log_reader import whole_topic
from features.contract import InvalidEvent
from features.notices import DeadLetter
from features.settings import Connections
from stream.batching import Record
from stream.dead_letters import DeadLetters, headers, letter_of
from stream.outbox import Outbox
from stream.topics import EVENTS_DLQ

LETTER = DeadLetter(
    reason="bad_json", detail="not JSON", topic="t", partition=3, offset=42, time=datetime(2026, 1, 1, tzinfo=UTC)
)


@given(st.builds(DeadLetter, reason=st.just("bad_field"), detail=st.text(max_size=500), topic=st.just("t"),
                 partition=st.integers(0, 99), offset=st.integers(0, 2**60), time=st.just(LETTER.time)))  # fmt: skip
def test_a_letter_survives_its_headers(letter: DeadLetter) -> None:
    if letter.detail.isprintable():
        assert letter_of(headers(letter)) == letter


def test_foreign_headers_are_not_a_letter() -> None:
    with pytest.raises(InvalidEvent, match="headers"):
        letter_of([("trace", b"1")])


async def test_bytes_key_time_and_own_headers_are_untouched(topics: Connections) -> None:
    raw = b"\xff\x00 {" + b"x" * 1_500_000
    async with Outbox(topics) as outbox:
        letters = DeadLetters(outbox.producer, topics.named(EVENTS_DLQ.name))
        await letters.set_aside([(Record(42, 1_700_000_000_000, b"k", raw, (("trace", b"abc"),)), LETTER)])
    (found,) = whole_topic(topics, EVENTS_DLQ.name)
    assert (found.value, found.key, found.timestamp) == (raw, b"k", 1_700_000_000_000)
    assert dict(found.headers)["trace"] == b"abc"
    assert letter_of(found.headers).origin == "t[3]@42"
