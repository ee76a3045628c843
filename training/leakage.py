"""What must never be in training examples: columns that know the answer, and examples on both sides of a split.

A check finds what a leak does, not how it came about: whether a row was folded from what was known at its time is shown
by recomputing it from the log (`training.recomputed`).
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from features.schema import CATEGORICAL, NUMERIC
from training.dataset import Dataset
from training.metrics import auc

LIMIT = 0.97
"""A single column that tells clicked requests from others so well knew the answer."""
MIN_CLICKS = 30
_FOLDS = 2


class Leak(ValueError):
    """Examples that hold what could not be known when the decision was made."""


def check(dataset: Dataset) -> None:
    """Raises `Leak` for a column that alone tells which requests were clicked; needs `MIN_CLICKS` to say anything."""
    told = {name: value for name, value in tells(dataset).items() if value > LIMIT}
    if told:
        name, value = max(told.items(), key=lambda one: one[1])
        raise Leak(
            f"column {name} alone tells clicked requests from others with AUC {value:.3f}, expected at most {LIMIT}: "
            "it was filled after the click; recompute the rows from the log (rgalign replay --features)"
        )


def check_split(earlier: Dataset, later: Dataset) -> None:
    """Raises `Leak` when a decision is on both sides, or the earlier side holds anything younger than the later."""
    if both := set(earlier.decision_id) & set(later.decision_id):
        raise Leak(f"{len(both)} decisions on both sides of the split, e.g. {min(both)}: split by time, each one once")
    if len(earlier) and len(later) and (last := int(earlier.made_ms.max())) >= (first := int(later.made_ms.min())):
        raise Leak(f"the earlier side ends {last - first} ms after the later one begins: split by time")


def tells(dataset: Dataset) -> dict[str, float]:
    """How well each column alone tells clicked requests from others: AUC, 0.5 = not at all; empty for too few clicks.

    A category counts with the click share that it had among the other half of the users.
    """
    clicked = dataset.has_click
    if min(clicked.sum(), (~clicked).sum()) < MIN_CLICKS:
        return {}
    encoded = dataset.encoded
    told = dict(zip(NUMERIC, (_of(clicked, column) for column in encoded.numeric.T), strict=True))
    half = np.array([sum(map(ord, user)) % _FOLDS for user in dataset.user])
    shares = (_shares(column, clicked, half) for column in encoded.categorical.T)
    return told | dict(zip(CATEGORICAL, (_of(clicked, share) for share in shares), strict=True))


def _of(clicked: NDArray[np.bool_], column: NDArray[np.floating]) -> float:
    found = auc(clicked, column)
    return max(found, 1 - found)


def _shares(column: NDArray[np.int64], clicked: NDArray[np.bool_], half: NDArray[np.int64]) -> NDArray[np.float64]:
    """Each request's share of clicks among requests of the other half with the same category, f64[B]."""
    told, buckets = np.empty(len(column)), int(column.max(initial=0)) + 1
    for number in range(_FOLDS):
        others, mine = half != number, half == number
        counts = np.bincount(column[others], minlength=buckets)
        sums = np.bincount(column[others], clicked[others], minlength=buckets)
        told[mine] = ((sums + clicked.mean()) / (counts + 1))[column[mine]]
    return told
