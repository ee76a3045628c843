"""Tails of two sides measured in alternation: the ratio of pooled quantiles, whole blocks drawn again."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from tests.benchmarks.ratios import Ratio

RESAMPLES = 2_000

Floats = NDArray[np.float64]


def tail_ratio(ours: Sequence[Floats], theirs: Sequence[Floats], quantile: float = 0.99, seed: int = 0) -> Ratio:
    """The quantile of all our samples over that of all theirs, with a 95 % interval over rounds of paired blocks.

    >>> tail_ratio([np.array([2.0, 4.0])], [np.array([1.0, 2.0])], 1.0).value
    2.0
    """
    if len(ours) != len(theirs) or not ours:
        raise ValueError(f"{len(ours)} and {len(theirs)} blocks: expected as many of both, and at least one")
    rounds = np.arange(len(ours))
    drawn = np.random.default_rng(seed).integers(len(rounds), size=(RESAMPLES, len(rounds)))
    ratios = [_ratio(ours, theirs, quantile, some) for some in drawn]
    low, high = np.quantile(ratios, (0.025, 0.975))
    return Ratio(_ratio(ours, theirs, quantile, rounds), float(low), float(high), len(rounds))


def _ratio(ours: Sequence[Floats], theirs: Sequence[Floats], quantile: float, rounds: NDArray[np.int64]) -> float:
    one, other = (np.quantile(np.concatenate([side[i] for i in rounds]), quantile) for side in (ours, theirs))
    return float(one / other)
