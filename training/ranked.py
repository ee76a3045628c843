"""The order that scores put items in; equal scores are ordered by a fixed hash, never by input order."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

_MASK64 = np.uint64(0xFFFFFFFFFFFFFFFF)


def ranks(scores: ArrayLike, candidates: ArrayLike | None = None) -> NDArray[np.int64]:
    """The rank of every column in its row, 1 = best, i64[B, N]; columns that are no candidates come last.

    >>> ranks([[.1, .9, .5]]).tolist()
    [[3, 1, 2]]
    """
    s = np.asarray(scores, np.float64)
    absent = np.zeros(s.shape, np.bool_) if candidates is None else ~np.asarray(candidates, np.bool_)
    tie = np.broadcast_to(_column_hash(s.shape[1]), s.shape)
    order = np.lexsort((tie, -s, absent), axis=1)
    ranked = np.empty(s.shape, np.int64)
    np.put_along_axis(ranked, order, np.broadcast_to(np.arange(1, s.shape[1] + 1), s.shape), axis=1)
    return ranked


def _column_hash(columns: int) -> NDArray[np.uint64]:
    """splitmix64 of the column index: the fixed order among equal scores."""
    z = (np.arange(1, columns + 1, dtype=np.uint64) * np.uint64(0x9E3779B97F4A7C15)) & _MASK64
    z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return np.asarray(z ^ (z >> np.uint64(31)))
