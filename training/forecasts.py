"""How far forecast probabilities are from what happened: log-likelihood and calibration (algorithm.md 3.1)."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike


def logloss(labels: ArrayLike, probabilities: ArrayLike) -> float:
    """The mean negative log likelihood, probabilities clipped to [1e-7, 1 - 1e-7].

    >>> round(logloss([1, 0], [.5, .5]), 4)
    0.6931
    """
    y, p = np.asarray(labels, np.float64), np.clip(np.asarray(probabilities, np.float64), 1e-7, 1 - 1e-7)
    return float(-(y * np.log(p) + (1 - y) * np.log1p(-p)).mean()) if len(y) else float("nan")


def ece(labels: ArrayLike, probabilities: ArrayLike, bins: int = 15) -> float:
    """The expected calibration error over equal-mass bins:  sum n_b / n |mean y_b - mean p_b|; NaN of nothing.

    Where equal forecasts fall into two bins, each has its part of their mean label: input order does not matter.

    >>> round(ece([1, 0, 1, 1], [.5, .5, .9, .9], bins=2), 6)
    0.05
    """
    y, p = np.asarray(labels, np.float64), np.asarray(probabilities, np.float64)
    if not len(y):
        return float("nan")
    _, of, counts = np.unique(p, return_inverse=True, return_counts=True)
    gaps = np.sort(p) - np.repeat(np.bincount(of, y) / counts, counts)
    parts = np.array_split(gaps, bins)
    return float(sum(abs(part.sum()) for part in parts) / len(y))


def ece_by_field(
    labels: ArrayLike, probabilities: ArrayLike, fields: ArrayLike, bins: int = 15
) -> dict[str, tuple[float, int]]:
    """(ECE, entries) of each value of a field, e.g. a region, sorted by value.

    >>> ece_by_field([1, 0, 1], [1, 1, 1], ["es", "en", "es"], bins=1)
    {'en': (1.0, 1), 'es': (0.0, 2)}
    """
    y, p, of = np.asarray(labels), np.asarray(probabilities), np.asarray(fields)
    parts = {str(value): of == value for value in np.unique(of)}
    return {value: (ece(y[part], p[part], bins), int(part.sum())) for value, part in parts.items()}
