"""The oracle itself, on logs whose answer is known by hand."""

from __future__ import annotations

from collections import Counter
from datetime import UTC, datetime
from typing import NamedTuple

import orjson

from tests.faults.oracle import REMEMBERED_IDS, expect

NOW_MS = 1_764_000_000_000


class Record(NamedTuple):
    offset: int
    key: bytes
    value: bytes
    timestamp: int = NOW_MS


def record(offset: int, event_id: str, at_s: float = 0.0, user: str = "u") -> Record:
    when = datetime.fromtimestamp(NOW_MS / 1000 + at_s, UTC).isoformat()
    told = {"id": event_id, "type": "chat_opened", "time": when, "user": user}
    return Record(offset, f"demo:{user}".encode(), orjson.dumps(told))


def test_every_record_has_one_end() -> None:
    poison = Record(4, b"demo:u", b"{")
    log = [record(0, "a"), record(1, "a"), record(2, "b", -3601), record(3, "c", -3600), poison]
    assert expect(log).ends == Counter(applied=2, duplicate=1, late=1, dead_lettered=1)
    assert expect(log).dead == {4}


def test_a_record_under_a_foreign_key_is_dead() -> None:
    assert expect([record(0, "a")._replace(key=b"demo:v")]).ends == Counter(dead_lettered=1)


def test_a_date_of_the_future_counts_as_a_minute_ahead() -> None:
    assert expect([record(0, "a", 10**9), record(1, "b", -3540)]).ends == Counter(applied=2)
    assert expect([record(0, "a", 10**9), record(1, "b", -3541)]).ends == Counter(applied=1, late=1)


def test_an_id_is_remembered_for_256_applied_events_of_its_user() -> None:
    more = [record(n, f"e{n}") for n in range(1, REMEMBERED_IDS)]
    assert expect([record(0, "a"), *more, record(999, "a")]).ends["duplicate"] == 1
    again = expect([record(0, "a"), *more, record(998, "z"), record(999, "a")])
    assert (again.ends["duplicate"], again.applied_again) == (0, 1)


def test_counts_are_halved_in_a_day_and_the_newest_stand_first() -> None:
    told = expect([record(0, "a", 0), record(1, "b", -3600)]).users["demo:u"]
    assert 1.97 < told.count("chat_opened") < 1.98
    assert [at for _, at in told.recent()] == [NOW_MS, NOW_MS - 3_600_000]
