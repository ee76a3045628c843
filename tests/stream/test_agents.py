"""Lanes: order within a partition, turns between partitions, and no hole behind an error."""

from __future__ import annotations

import asyncio

from stream.agents import LANE_DEPTH, Lanes
from stream.batching import Batch, Record


def batch(partition: int, offset: int) -> Batch:
    return Batch("t", partition, 1, offset, (Record(offset, 0, None, None),))


class Slow:
    """A line that works on each batch until it is let go."""

    def __init__(self) -> None:
        self.fence = None
        self.begun: list[tuple[int, int]] = []
        self.gates: dict[int, asyncio.Semaphore] = {0: asyncio.Semaphore(0), 1: asyncio.Semaphore(0)}
        self.fails_at = -1

    async def process(self, batch: Batch) -> None:
        self.begun.append((batch.partition, batch.first))
        await self.gates[batch.partition].acquire()
        if batch.first == self.fails_at:
            raise RuntimeError("cannot go on")


async def settled() -> None:
    for _ in range(20):
        await asyncio.sleep(0)


async def test_partitions_take_turns_and_each_keeps_its_order():
    line, done = Slow(), []
    lanes = Lanes(line, lambda b: done.append((b.partition, b.first)), lambda error: None)
    for partition, offset in [(0, 0), (0, 1), (1, 0)]:
        await lanes.put(batch(partition, offset))
    await settled()
    assert line.begun == [(0, 0), (1, 0)]
    for _ in range(2):
        line.gates[0].release()
    await settled()
    assert (line.begun, done) == ([(0, 0), (1, 0), (0, 1)], [(0, 0), (0, 1)])
    await lanes.close(0)


async def test_a_full_lane_makes_the_reader_wait():
    lanes = Lanes(Slow(), lambda b: None, lambda error: None)
    for offset in range(LANE_DEPTH + 1):
        await lanes.put(batch(0, offset))
        await settled()
    blocked = asyncio.create_task(lanes.put(batch(0, 9)))
    await settled()
    assert not blocked.done()
    blocked.cancel()
    await lanes.close(0)


async def test_after_an_error_nothing_behind_it_takes_effect():
    line, done, errors = Slow(), [], []
    line.fails_at = 0
    lanes = Lanes(line, done.append, errors.append)
    await lanes.put(batch(0, 0))
    await lanes.put(batch(0, 1))
    line.gates[0].release()
    line.gates[0].release()
    await settled()
    assert (line.begun, done, [str(error) for error in errors]) == ([(0, 0)], [], ["cannot go on"])
    await lanes.close(0)


async def test_closing_lets_what_is_queued_take_effect():
    line, done = Slow(), []
    lanes = Lanes(line, lambda b: done.append(b.first), lambda error: None)
    for offset in range(2):
        await lanes.put(batch(0, offset))
        line.gates[0].release()
    await lanes.close(5)
    assert done == [0, 1]
