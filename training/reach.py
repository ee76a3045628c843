"""How widely a ranker spreads what it shows: coverage and Gini over items (algorithm.md 2.8, the popularity loop)."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from training.ranked import ranks


def exposures(scores: ArrayLike, k: int, candidates: ArrayLike | None = None) -> NDArray[np.int64]:
    """How many of B requests have each item among their top k, i64[N].

    >>> exposures([[.9, .8, .1], [.7, .1, .6]], k=1).tolist()
    [2, 0, 0]
    """
    top = ranks(scores, candidates) <= k
    return np.asarray((top if candidates is None else top & np.asarray(candidates, np.bool_)).sum(axis=0))


def coverage(shown: ArrayLike, could: ArrayLike | None = None) -> float:
    """The share of items that are shown at all, of those that ever `could` be (bool[N]).

    >>> coverage([5, 0, 1, 0]), coverage([5, 0, 1, 0], [True, True, True, False])
    (0.5, 0.6666666666666666)
    """
    seen = np.asarray(shown) > 0
    chosen = seen if could is None else seen[np.asarray(could, np.bool_)]
    return float(chosen.mean()) if len(chosen) else float("nan")


def gini(shown: ArrayLike) -> float:
    """How unequally N items are shown: 0 = all alike, (N - 1) / N = only one; NaN if nothing is.

        sum over i of (2 i - N - 1) x_i / (N sum x),  x ascending, i from 1

    >>> gini([3, 3, 3]), gini([0, 0, 0, 8])
    (0.0, 0.75)
    """
    x = np.sort(np.asarray(shown, np.float64))
    n = len(x)
    return float((2 * np.arange(1, n + 1) - n - 1) @ x / (n * x.sum())) if x.sum() > 0 else float("nan")
