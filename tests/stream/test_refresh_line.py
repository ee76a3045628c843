"""A request's way: what is not served waits again, and nothing is committed before its effect."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from types import SimpleNamespace

import pytest
from redis.exceptions import ConnectionError as RedisConnectionError

from stream import refresh_line
from stream.embedding import Tally
from stream.refresh_line import RefreshLine
from stream.refresh_queue import Refresh
from tests.stream.test_refresh_queue import NOW, PLACE, refresh


class Served:
    """Notes what it is asked to serve; `fails` says which it hands back, `away` how often Redis is away first."""

    def __init__(self, fails: Sequence[str] = (), away: int = 0) -> None:
        self.batches: list[list[str]] = []
        self.third = asyncio.Event()
        self._fails, self._away = fails, away

    async def __call__(self, batch: Sequence[Refresh]) -> list[Refresh]:
        self.batches.append([one.request.user for one in batch])
        if len(self.batches) == 3:
            self.third.set()
        if len(self.batches) <= self._away:
            raise RedisConnectionError("gone")
        return [one for one in batch if one.request.user in self._fails and one.attempts == 0]


class Clock:
    def __init__(self) -> None:
        self.now_ms = NOW

    def __call__(self) -> int:
        self.now_ms += 200
        return self.now_ms


def line_of(*requests: Refresh) -> RefreshLine:
    line = RefreshLine(Clock())
    for one in requests:
        admit(line, one)
    return line


def admit(line: RefreshLine, one: Refresh) -> None:
    line._admit(PLACE, SimpleNamespace(offset=one.offset, timestamp=NOW, value=one.request.to_json()), Tally())


async def drained(line: RefreshLine, served: Served, most: int = 8) -> Tally:
    tally = Tally()
    line.stop()
    await asyncio.wait_for(line.embed(served, most, tally), 10)
    return tally


async def test_a_line_that_stops_serves_all_that_wait_due_or_not() -> None:
    line, served = line_of(*(refresh(f"u{number}", number) for number in range(5))), Served()
    await drained(line, served, most=2)
    assert [len(batch) for batch in served.batches] == [2, 2, 1]
    assert line._unfinished.committable() == {PLACE: 5}


async def test_what_fails_is_tried_again_and_holds_its_offset_back() -> None:
    line, served, committable = line_of(refresh("bad", 0), refresh("good", 1)), Served(fails=["bad"]), []

    async def process(batch: Sequence[Refresh]) -> list[Refresh]:
        committable.append(line._unfinished.committable()[PLACE])
        return await served(batch)

    line.stop()
    await asyncio.wait_for(line.embed(process, 8, Tally()), 10)
    assert served.batches == [["bad", "good"], ["bad"]]
    assert [*committable, line._unfinished.committable()[PLACE]] == [0, 0, 2]


async def test_a_batch_is_repeated_while_redis_is_away(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(refresh_line, "RETRY_S", 0.01)
    line, served = line_of(refresh("u", 0)), Served(away=2)
    await drained(line, served)
    assert served.batches == [["u"]] * 3
    assert line.redis_answers


async def test_whoever_asks_right_after_a_batch_is_served_with_others(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(refresh_line, "GATHER_S", 1.0)
    line, served = line_of(refresh("first", 0, is_trigger=True)), Served()
    embedding = asyncio.create_task(line.embed(served, 8, Tally()))
    for offset, user in enumerate(("b", "c"), start=1):
        await asyncio.sleep(0.05)
        admit(line, refresh(user, offset, is_trigger=True))
        line._arrived.set()
    line.stop()
    await embedding
    assert served.batches == [["first"], ["b", "c"]]


async def test_full_batches_follow_each_other_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(refresh_line, "GATHER_S", 60.0)
    line, served = line_of(*(refresh(f"u{number}", number, is_trigger=True) for number in range(5))), Served()
    embedding = asyncio.create_task(line.embed(served, 2, Tally()))
    async with asyncio.timeout(30):
        await served.third.wait()
    embedding.cancel()
    assert [len(batch) for batch in served.batches] == [2, 2, 1]


async def test_lag_counts_what_was_read_and_had_no_effect_yet() -> None:
    line = line_of(refresh("u", 3))
    consumer = SimpleNamespace(assignment=lambda: {PLACE}, highwater=lambda _: 10)
    assert line.behind(consumer) == {PLACE: 7}
    await drained(line, Served())
    assert line.behind(consumer) == {PLACE: 6}


async def test_an_unreadable_request_is_counted_and_keeps_nobody_back() -> None:
    line, tally = RefreshLine(Clock()), Tally()
    line._admit(PLACE, SimpleNamespace(offset=0, timestamp=NOW, value=b"{"), tally)
    assert (tally.failed, line._unfinished.committable()) == (1, {PLACE: 1})
