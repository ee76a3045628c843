"""Short blocks of all arms in turn, each round in another random order, until the time or the log is used up."""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TypeVar

from tests.benchmarks.meter import Block, cpu_pressure
from tests.benchmarks.ratios import Ratio, percentiles, ratio

Task = TypeVar("Task")
"""What an arm is told for one block, e.g. a `launching.Task`."""


@dataclass(slots=True)
class Measured:
    """All raw blocks by arm, round by round, and the CPU pressure at each."""

    blocks: dict[str, list[Block]] = field(default_factory=dict)
    pressure: list[float] = field(default_factory=list)

    def ratio(self, arm: str, to: str, *, cost: bool = False) -> Ratio:
        """Events a second of one arm to another's; with `cost`, all CPU an event of one to another's."""
        return ratio(self.values(arm, cost=cost), self.values(to, cost=cost))

    def values(self, arm: str, *, cost: bool = False) -> list[float]:
        """Each block's rate, or its CPU microseconds an event with the services' share."""
        return [block.all_cpu_us if cost else block.rate for block in self.blocks[arm]]

    def median(self, arm: str, of: Callable[[Block], float]) -> float:
        """The median of a figure over an arm's blocks."""
        return percentiles([of(block) for block in self.blocks[arm]])[0]

    @property
    def busiest(self) -> float | None:
        """The highest CPU pressure seen, PSI some avg10."""
        return max(self.pressure, default=None)


def alternate(
    runs: Mapping[str, Callable[[Task], Block]],
    tasks: Callable[[str, int], Task],
    *,
    rounds: int,
    budget_s: float,
    seed: int,
    advance: Callable[[int, int], None],
    discarded: int = 1,
) -> Measured:
    """`discarded` rounds, then up to `rounds` measured ones while `budget_s` lasts (at least one)."""
    measured, order, began_s, longest_s = (
        Measured({arm: [] for arm in runs}),
        random.Random(seed),
        time.monotonic(),
        0.0,
    )
    for number in range(1 - discarded, rounds + 1):
        turn_s = time.monotonic()
        if number > 1 and turn_s - began_s + longest_s > budget_s:
            break
        arms = list(runs)
        order.shuffle(arms)
        found = {}
        for place, arm in enumerate(arms):
            found[arm] = runs[arm](tasks(arm, number))
            advance((number + discarded - 1) * len(arms) + place + 1, (rounds + discarded) * len(arms))
        longest_s = max(longest_s, time.monotonic() - turn_s)
        if number > 0:
            for arm, block in found.items():
                measured.blocks[arm].append(block)
            if (pressure := cpu_pressure()) is not None:
                measured.pressure.append(pressure)
    return measured


def together(blocks: Sequence[Block]) -> Block:
    """What several processes did at the same time, as one block."""
    first = blocks[0]
    return Block(
        first.arm,
        sum(block.events for block in blocks),
        max(block.wall_s for block in blocks),
        sum(block.cpu_s for block in blocks),
        max(block.store_cpu_s for block in blocks),
        max(block.broker_cpu_s or 0.0 for block in blocks),
    )
