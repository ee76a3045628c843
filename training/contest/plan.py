"""Which fits the comparison is made of, in its short form and in full."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from training.contest.arms import BY_KEY, ENTRIES
from training.contest.cell import CellName
from training.contest.fits import Task
from training.dials import SHARES, TUNING_SEEDS, UNTOUCHED_SEEDS

LOW, HIGH = SHARES[0], SHARES[-1]
PRIMARY = ("qerec", "two_tower", "lightgbm_cosine")
"""The arms that meet in every cell."""
GAINS = ("qerec_null",)
"""What the query tower's gain is taken against, at the lowest and the highest share."""
PLACEBOS = ("shuffled", "random")
"""What gains nothing, measured on the same requests; the one that comes nearest to queries first."""
COLD = ("qerec", "lightgbm_cosine", "zero_shot")


@dataclass(frozen=True, slots=True)
class Plan:
    """`users` visit `rounds` times, the last of which is the test; `worlds` are tuning worlds of the table.

    Every seeded arm is fitted with each of `seeds` in a tuning world and with the first `untouched_seeds` in others;
    QE-Rec's variants, which answer nothing but stand in the table, with the first `variant_seeds`. `placebos` are
    measured like the gain; those of `PLACEBOS` that are not are variants.
    """

    users: int
    rounds: int
    worlds: tuple[int, ...]
    seeds: tuple[int, ...]
    untouched_seeds: int
    variant_seeds: int
    placebos: tuple[str, ...]

    def cell(self, world: int, share: float) -> CellName:
        """The cell of a world at a share."""
        return CellName(world, share, self.users, self.rounds)

    @property
    def cells(self) -> tuple[CellName, ...]:
        """Every cell, tuning worlds first."""
        return tuple(
            self.cell(world, share) for world in (*self.worlds, *UNTOUCHED_SEEDS) for share in (HIGH, *_rest())
        )

    def seeds_of(self, world: int, arm: str) -> tuple[int, ...]:
        """With which seeds an arm is fitted in a world."""
        if not BY_KEY[arm].is_seeded:
            return self.seeds[:1]
        if BY_KEY[arm].like and arm not in {*GAINS, *self.placebos}:
            return self.seeds[: self.variant_seeds]
        return self.seeds[: self.untouched_seeds] if world in UNTOUCHED_SEEDS else self.seeds

    def tasks(self) -> Iterator[Task]:
        """Every fit: first what answers the questions, then the rest of the table; cell by cell within each."""
        for arms in (PRIMARY, GAINS, self.placebos, tuple(entry.key for entry in ENTRIES)):
            for world in (*self.worlds, *UNTOUCHED_SEEDS):
                for share in (HIGH, *_rest()):
                    for arm in arms:
                        if self._belongs(arm, world, share, arms):
                            yield from self._fits(world, share, arm)
        for world in self.worlds:
            for arm in COLD:
                yield from (Task(self.cell(world, HIGH), arm, seed, is_cold=True) for seed in self.seeds_of(world, arm))

    def _fits(self, world: int, share: float, arm: str) -> Iterator[Task]:
        return (Task(self.cell(world, share), arm, seed) for seed in self.seeds_of(world, arm))

    def _belongs(self, arm: str, world: int, share: float, arms: tuple[str, ...]) -> bool:
        if arms == PRIMARY:
            return True
        if arms in {GAINS, self.placebos}:
            return share in {LOW, HIGH}
        is_done = arm in {*PRIMARY, *GAINS, *self.placebos}
        return not is_done and (world in self.worlds or arm == "zero_shot") and (share == HIGH or arm == "zero_shot")


def _rest() -> tuple[float, ...]:
    return SHARES[:-1]


SHORT = Plan(
    users=600, rounds=4, worlds=TUNING_SEEDS[:1], seeds=(1, 2, 3, 4, 5), untouched_seeds=5, variant_seeds=3,
    placebos=PLACEBOS[:1],
)  # fmt: skip
FULL = Plan(
    users=1000, rounds=10, worlds=TUNING_SEEDS, seeds=(1, 2, 3, 4, 5), untouched_seeds=5, variant_seeds=5,
    placebos=PLACEBOS,
)  # fmt: skip
