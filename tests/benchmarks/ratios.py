"""What two arms measured in alternation say about each other: a ratio of medians and how sure it is."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

RESAMPLES = 10_000


@dataclass(frozen=True, slots=True)
class Ratio:
    """The ratio of medians of `rounds` paired blocks, and its 95 % block-bootstrap interval."""

    value: float
    low: float
    high: float
    rounds: int

    def is_outside(self, band: Ratio) -> bool:
        """Whether this interval and the A/A band do not meet, and the ratio differs from 1 by 10 % or more."""
        return (self.low > band.high or self.high < band.low) and abs(self.value - 1) >= 0.1


def ratio(ours: Sequence[float], theirs: Sequence[float], seed: int = 0) -> Ratio:
    """median(ours) / median(theirs); whole rounds are drawn again, so that what slowed both in a round stays paired.

    >>> ratio([2.0, 4.0, 6.0], [1.0, 2.0, 3.0])
    Ratio(value=2.0, low=2.0, high=2.0, rounds=3)
    """
    if len(ours) != len(theirs) or not ours:
        raise ValueError(f"{len(ours)} and {len(theirs)} blocks: expected as many of both, and at least one")
    one, other = np.asarray(ours, np.float64), np.asarray(theirs, np.float64)
    drawn = np.random.default_rng(seed).integers(len(one), size=(RESAMPLES, len(one)))
    ratios = np.median(one[drawn], axis=1) / np.median(other[drawn], axis=1)
    low, high = np.quantile(ratios, (0.025, 0.975))
    return Ratio(float(np.median(one) / np.median(other)), float(low), float(high), len(one))


def percentiles(values: Sequence[float]) -> tuple[float, float]:
    """p50 and p99."""
    p50, p99 = np.quantile(np.asarray(values, np.float64), (0.5, 0.99))
    return float(p50), float(p99)
