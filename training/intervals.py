"""Bootstrap intervals for paired differences: whole users resampled, and seeds with them where there are several."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

F64 = NDArray[np.float64]

REPLICATES = 2000
_CELLS = 4_000_000
"""How many draws are held at once, so that memory stays bounded."""


class Interval(NamedTuple):
    """A mean and its two-sided bootstrap interval."""

    mean: float
    low: float
    high: float


def paired_cluster_bootstrap(
    deltas: ArrayLike,
    clusters: ArrayLike,
    *,
    replicates: int = REPLICATES,
    seed: int = 0,
    weights: ArrayLike | None = None,
) -> Interval:
    """The (weighted) mean of paired differences and its 95 % percentile interval, whole clusters resampled.

    One entry a request in `deltas`, `clusters` (its user) and `weights`. For GAUC take one entry a group: the
    difference of its two AUCs, weighted by its impressions (`metrics.group_aucs`); entries that are NaN do not count.
    Raises ValueError without entries.
    """
    return hierarchical_bootstrap(
        deltas, clusters, np.zeros(np.shape(deltas)), replicates=replicates, seed=seed, weights=weights
    )


def hierarchical_bootstrap(
    deltas: ArrayLike,
    clusters: ArrayLike,
    seeds: ArrayLike,
    *,
    replicates: int = REPLICATES,
    seed: int = 0,
    weights: ArrayLike | None = None,
) -> Interval:
    """As `paired_cluster_bootstrap`, with the seeds resampled too (algorithm.md 3.3).

        mean* = sum over s, u of  a_s b_u sum(w d)_su  /  sum over s, u of  a_s b_u sum(w)_su

    where a and b say how often a replicate drew each seed and each user. The same user under two seeds is drawn once
    for both: give the users of different worlds different names.
    """
    d = np.asarray(deltas, np.float64)
    counted = ~np.isnan(d)
    d = d[counted]
    if len(d) == 0:
        raise ValueError("found no paired differences; expected at least one request scored by both rankers")
    w = np.ones(len(d)) if weights is None else np.asarray(weights, np.float64)[counted]
    users, of_user = np.unique(np.asarray(clusters)[counted], return_inverse=True)
    kinds, of_seed = np.unique(np.asarray(seeds)[counted], return_inverse=True)
    shape = len(kinds), len(users)
    place = of_seed * len(users) + of_user
    sums, masses = (_cells(place, part, shape) for part in (w * d, w))
    low, high = np.quantile(_means(sums, masses, replicates, np.random.default_rng(seed)), [0.025, 0.975])
    return Interval(float(sums.sum() / masses.sum()), float(low), float(high))


def _cells(place: NDArray[np.int64], values: F64, shape: tuple[int, int]) -> F64:
    return np.bincount(place, values, minlength=shape[0] * shape[1]).reshape(shape).astype(np.float64)


def _means(sums: F64, masses: F64, replicates: int, rng: np.random.Generator) -> F64:
    """The replicates' means, f64[replicates], of cells f64[seeds, users]."""
    kinds, users = sums.shape
    block = max(1, _CELLS // users)
    means = []
    for start in range(0, replicates, block):
        rows = min(block, replicates - start)
        seed_draws, user_draws = _draws(rows, kinds, rng), _draws(rows, users, rng)
        top = np.einsum("ru,ru->r", seed_draws @ sums, user_draws)
        means.append(top / np.maximum(np.einsum("ru,ru->r", seed_draws @ masses, user_draws), 1e-300))
    return np.concatenate(means)


def _draws(rows: int, things: int, rng: np.random.Generator) -> F64:
    """How often each of n things is among n drawn with replacement, f64[rows, n]."""
    if things == 1:
        return np.ones((rows, 1))
    drawn = rng.integers(things, size=(rows, things)) + np.arange(rows)[:, None] * things
    return np.bincount(drawn.ravel(), minlength=rows * things).reshape(rows, things).astype(np.float64)
