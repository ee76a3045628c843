"""What another policy would have earned, estimated from a log with propensities (algorithm.md 3.1)."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike


def ips(rewards: ArrayLike, weights: ArrayLike) -> float:
    """The inverse-propensity estimate  mean(w r),  w = pi_e / pi_0; NaN of nothing.

    >>> ips([1, 0], [2.0, 1.0])
    1.0
    """
    earned = np.asarray(rewards, np.float64) * np.asarray(weights, np.float64)
    return float(earned.mean()) if len(earned) else float("nan")


def snips(rewards: ArrayLike, weights: ArrayLike) -> float:
    """The self-normalised estimate  sum(w r) / sum(w).

    >>> snips([1, 0], [3.0, 1.0])
    0.75
    """
    r, w = np.asarray(rewards, np.float64), np.asarray(weights, np.float64)
    return float(r @ w / w.sum()) if w.sum() > 0 else float("nan")


def effective_sample_size(weights: ArrayLike) -> float:
    """How many unweighted samples the weights are worth:  (sum w)^2 / sum w^2.

    >>> effective_sample_size([1.0, 1.0, 1.0])
    3.0
    """
    w = np.asarray(weights, np.float64)
    return float(w.sum() ** 2 / (w @ w)) if w.any() else 0.0
