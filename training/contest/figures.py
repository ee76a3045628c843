"""Figures of the comparison with intervals: means, and paired differences that resample users and seeds alike."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from training import metrics
from training.contest.cell import Cell, CellName
from training.contest.fits import Task, measured
from training.intervals import REPLICATES, Interval

F64 = NDArray[np.float64]
METRICS: Mapping[str, Callable[[Mapping[str, F64]], F64]] = {
    "gauc": lambda fit: fit["auc"],
    "recall1": lambda fit: (fit["rank"] <= 1).astype(np.float64),
    "recall3": lambda fit: (fit["rank"] <= 3).astype(np.float64),
    "mrr": lambda fit: 1 / fit["rank"],
    "ndcg3": lambda fit: np.where(fit["rank"] <= 3, 1 / np.log2(fit["rank"] + 1), 0.0),
    "swapped": lambda fit: fit["swapped_auc"],
}
"""Of every tested request that had a need; GAUC is over all live intents, n_g = requests (algorithm.md 3.1)."""


@dataclass(frozen=True, eq=False)
class LastRound:
    """What a cell's test knows of its requests with a need: whose they are, and the oracles' figures."""

    user: NDArray[np.int64]
    need: NDArray[np.int64]
    eligible: F64
    bayes: Mapping[str, F64]
    blind: Mapping[str, F64]
    clicks: F64

    @classmethod
    def of(cls, cell: Cell) -> LastRound:
        """The test of a cell."""
        border = cell.test_from
        need, eligible = cell.need[border:], cell.dataset.eligible[border:]
        bayes = measured(cell.bayes[border:], eligible, need)
        rows = bayes["rows"].astype(np.int64)
        _, user = np.unique(np.array(cell.dataset.user[border:])[rows], return_inverse=True)
        early = cell.dataset.take(np.arange(border))
        return cls(
            user=user,
            need=need[rows],
            eligible=eligible[rows].sum(axis=1).astype(np.float64),
            bayes=bayes,
            blind=measured(cell.blind[border:], eligible, need),
            clicks=early.labels.sum(axis=0).astype(np.float64),
        )


@dataclass(frozen=True, eq=False)
class Results:
    """Every fit that is done, and the tests they were measured on."""

    fits: Mapping[Task, Mapping[str, F64]]
    tests: Mapping[CellName, LastRound]
    _kept: dict[tuple[object, ...], Interval] = field(default_factory=dict)

    @cached_property
    def _seeds(self) -> dict[tuple[CellName, str, bool], list[Task]]:
        seeds: dict[tuple[CellName, str, bool], list[Task]] = {}
        for task in self.fits:
            seeds.setdefault((task.cell, task.arm, task.is_cold), []).append(task)
        return seeds

    def fits_of(self, cell: CellName, arm: str, *, is_cold: bool = False) -> list[Mapping[str, F64]]:
        """The fits of an arm in a cell, by seed."""
        tasks = sorted(self._seeds.get((cell, arm, is_cold), []), key=lambda task: task.seed)
        return [self.fits[task] for task in tasks]

    def values(self, cell: CellName, arm: str, metric: str, *, is_cold: bool = False) -> F64:
        """One metric of every seed and tested request, f64[S, R]."""
        told = [METRICS[metric](fit) for fit in self.fits_of(cell, arm, is_cold=is_cold)]
        return np.array(told).reshape(len(told), -1)

    def has(self, cells: Sequence[CellName], *arms: str, is_cold: bool = False) -> bool:
        """Whether all of these arms have a fit in all of these cells."""
        return bool(cells) and all((cell, arm, is_cold) in self._seeds for cell in cells for arm in arms)

    def mean(self, cells: Sequence[CellName], arm: str, metric: str) -> Interval:
        """The mean over seeds, requests and worlds, and its interval."""
        return self._interval(
            ("mean", tuple(cells), arm, metric), [self.values(cell, arm, metric) for cell in cells], cells
        )

    def difference(self, cells: Sequence[CellName], arm: str, other: str, metric: str) -> Interval:
        """The mean of `arm` minus `other` on the same requests with the same seeds, and its interval."""
        parts = [_paired(self.values(cell, arm, metric), self.values(cell, other, metric)) for cell in cells]
        return self._interval(("minus", tuple(cells), arm, other, metric), parts, cells)

    def swap(self, cells: Sequence[CellName], arm: str) -> Interval:
        """What it costs to exchange the queries of requests of the same language and hour, in GAUC."""
        parts = [self.values(cell, arm, "gauc") - self.values(cell, arm, "swapped") for cell in cells]
        return self._interval(("swap", tuple(cells), arm), parts, cells)

    def _interval(self, name: tuple[object, ...], parts: list[F64], cells: Sequence[CellName]) -> Interval:
        if name not in self._kept:
            self._kept[name] = interval(parts, [self.tests[cell].user for cell in cells])
        return self._kept[name]


def interval(parts: Sequence[F64], users: Sequence[NDArray[np.int64]], replicates: int = REPLICATES) -> Interval:
    """The mean of [S, R] values over worlds, and its 95 % interval: users (of each world) and seeds are resampled.

    Every request counts alike, with however many seeds its world was ranked.
    """
    first = np.cumsum([0, *(int(user.max()) + 1 for user in users)])
    names = [np.tile(user + start, len(part)) for user, start, part in zip(users, first, parts, strict=False)]
    seeds = [np.repeat(np.arange(len(part)), part.shape[1]) for part in parts]
    weights = [np.full(part.size, 1 / len(part)) for part in parts]
    told, clusters, kinds, masses = (np.concatenate(one) for one in ([p.ravel() for p in parts], names, seeds, weights))
    return metrics.hierarchical_bootstrap(told, clusters, kinds, replicates=replicates, weights=masses)


def _paired(mine: F64, theirs: F64) -> F64:
    """The difference by seed; an arm without seeds is the same for all of them."""
    seeds = max(len(mine), len(theirs)) if 1 in {len(mine), len(theirs)} else min(len(mine), len(theirs))
    return _stretched(mine, seeds) - _stretched(theirs, seeds)


def _stretched(values: F64, seeds: int) -> F64:
    return np.repeat(values, seeds, axis=0) if len(values) == 1 else values[:seeds]
