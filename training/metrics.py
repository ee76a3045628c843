"""Ranking metrics, exactly as algorithm.md 3.1 defines them, and by name all others of that section.

Ties between scores are broken by a fixed hash of the item's column, never by its position in the input; where pairs
are counted, a tie is half a pair. What a metric is of each request or group is told beside its mean, for intervals
(`training.intervals`).
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from training.forecasts import ece, ece_by_field, logloss
from training.intervals import Interval, hierarchical_bootstrap, paired_cluster_bootstrap
from training.off_policy import effective_sample_size, ips, snips
from training.ranked import ranks
from training.reach import coverage, exposures, gini

__all__ = [
    "Floats", "GroupAucs", "GroupedAuc", "Interval", "auc", "coverage", "ece", "ece_by_field",
    "effective_sample_size", "exposures", "gauc", "gini", "group_aucs", "hierarchical_bootstrap", "ips", "logloss",
    "mrr", "ndcg_at_k", "ndcgs", "paired_cluster_bootstrap", "ranks", "recall_at_k", "recalls", "reciprocal_ranks",
    "relative_error_reduction", "snips",
]  # fmt: skip

Floats = NDArray[np.float64]


def auc(labels: ArrayLike, scores: ArrayLike) -> float:
    """The share of (positive, negative) pairs in the right order, ties counting half; NaN for one class.

    >>> auc([1, 0, 0], [.9, .8, .1])
    1.0
    """
    y, s = np.asarray(labels) > 0, np.asarray(scores, np.float64)
    good, bad = int(y.sum()), int((~y).sum())
    if good == 0 or bad == 0:
        return float("nan")
    return float((_midranks(s)[y].sum() - good * (good + 1) / 2) / (good * bad))


def _midranks(scores: Floats) -> Floats:
    _, inverse, counts = np.unique(scores, return_inverse=True, return_counts=True)
    last = np.cumsum(counts)
    return np.asarray((last - (counts - 1) / 2)[inverse])


class GroupedAuc(NamedTuple):
    """GAUC, over how many groups it is taken, and the share of groups skipped for having one class."""

    value: float
    groups: int
    skipped_share: float


class GroupAucs(NamedTuple):
    """G groups in sorted order: their names, AUCs f64[G] (NaN for one class) and impressions or weights f64[G]."""

    groups: NDArray[np.generic]
    aucs: Floats
    weights: Floats


def group_aucs(labels: ArrayLike, scores: ArrayLike, groups: ArrayLike, weights: ArrayLike | None = None) -> GroupAucs:
    """The AUC of each group; all arguments are flat, one entry an impression.

    >>> found = group_aucs([1, 0, 0, 0, 1], [.9, .8, .1, .6, .4], list("aaabb"))
    >>> found.aucs.tolist(), found.weights.tolist()
    ([1.0, 0.0], [3.0, 2.0])
    """
    y, s = np.asarray(labels) > 0, np.asarray(scores, np.float64)
    names, g = np.unique(np.asarray(groups), return_inverse=True)
    n = len(names)
    positives, negatives = np.bincount(g[y], minlength=n), np.bincount(g[~y], minlength=n)
    order = np.lexsort((s, g))
    starts = np.cumsum(positives + negatives) - positives - negatives
    ranked = np.empty(len(y))
    ranked[order] = _grouped_midranks(g[order], s[order]) - starts[g[order]]
    won = np.bincount(g[y], ranked[y], minlength=n) - positives * (positives + 1) / 2
    pairs = positives * negatives
    aucs = np.where(pairs > 0, won / np.maximum(pairs, 1), np.nan)
    mass = np.ones(len(y)) if weights is None else np.asarray(weights, np.float64)
    return GroupAucs(names, aucs, np.bincount(g, mass, minlength=n).astype(np.float64))


def gauc(labels: ArrayLike, scores: ArrayLike, groups: ArrayLike, weights: ArrayLike | None = None) -> GroupedAuc:
    """The mean AUC over groups (users, or requests), by impressions (or summed `weights`):  sum n_g AUC_g / sum n_g.

    Groups of one class are skipped. All arguments are flat, one entry an impression.

    >>> gauc([1, 0, 0, 0, 1, 0, 0], [.9, .8, .1, .6, .4, .3, .2], list("aaabbcc"))
    GroupedAuc(value=0.6, groups=2, skipped_share=0.33333333333333337)
    """
    of_group = group_aucs(labels, scores, groups, weights)
    valid = ~np.isnan(of_group.aucs)
    if not valid.any():
        return GroupedAuc(float("nan"), 0, 1.0)
    n_g = of_group.weights[valid]
    return GroupedAuc(float(of_group.aucs[valid] @ n_g / n_g.sum()), int(valid.sum()), float(1 - valid.mean()))


def _grouped_midranks(group: NDArray[np.int64], score: Floats) -> Floats:
    """Ranks from 1 over the sorted concatenation of all groups; equal scores of one group share their mean rank."""
    if not len(group):
        return np.zeros(0)
    new = np.r_[True, (group[1:] != group[:-1]) | (score[1:] != score[:-1])]
    run = np.cumsum(new) - 1
    counts = np.bincount(run)
    last = np.cumsum(counts)
    return np.asarray((last - (counts - 1) / 2)[run])


def relative_error_reduction(before: float, after: float) -> float:
    """How much of the remaining error went away:  (after - before) / (1 - before).

    >>> round(100 * relative_error_reduction(.9659, .9671), 2)
    3.52
    """
    return (after - before) / (1 - before)


def recalls(labels: ArrayLike, scores: ArrayLike, k: int, candidates: ArrayLike | None = None) -> Floats:
    """|top k and P| / |P| of each request, f64[B]; NaN without a positive. One that is no candidate is missed."""
    y = np.asarray(labels) > 0
    present = y if candidates is None else y & np.asarray(candidates, np.bool_)
    hits, positives = (present & (ranks(scores, candidates) <= k)).sum(axis=1), y.sum(axis=1)
    return np.where(positives > 0, hits / np.maximum(positives, 1), np.nan)


def recall_at_k(labels: ArrayLike, scores: ArrayLike, k: int, candidates: ArrayLike | None = None) -> float:
    """The mean over requests with a positive of |top k and P| / |P|; arguments are [B, N].

    >>> recall_at_k([[1, 0, 1], [0, 0, 0]], [[.9, .8, .1], [1, 2, 3]], k=1)
    0.5
    """
    return _mean_of_told(recalls(labels, scores, k, candidates))


def reciprocal_ranks(labels: ArrayLike, scores: ArrayLike, candidates: ArrayLike | None = None) -> Floats:
    """1 / rank of the best-ranked positive of each request, f64[B]; NaN without a positive."""
    y = np.asarray(labels) > 0
    best = np.where(y, ranks(scores, candidates), np.iinfo(np.int64).max).min(axis=1)
    return np.where(y.any(axis=1), 1.0 / best, np.nan)


def mrr(labels: ArrayLike, scores: ArrayLike, candidates: ArrayLike | None = None) -> float:
    """The mean reciprocal rank of the first positive, over requests that have one.

    >>> mrr([[0, 1, 0], [1, 0, 0]], [[.9, .8, .1], [3, 2, 1]])
    0.75
    """
    return _mean_of_told(reciprocal_ranks(labels, scores, candidates))


def ndcgs(labels: ArrayLike, scores: ArrayLike, k: int, candidates: ArrayLike | None = None) -> Floats:
    """DCG / ideal DCG of each request, f64[B], gains 2^y - 1 and discounts log2(rank + 1); NaN without a gain."""
    gains = np.exp2(np.asarray(labels, np.float64)) - 1
    discount = 1 / np.log2(np.arange(2, gains.shape[1] + 2)) * (np.arange(gains.shape[1]) < k)
    reached = gains if candidates is None else np.where(np.asarray(candidates), gains, 0.0)
    dcg = (reached * discount[ranks(scores, candidates) - 1]).sum(axis=1)
    ideal = (-np.sort(-gains, axis=1) * discount).sum(axis=1)
    return np.where(ideal > 0, dcg / np.where(ideal > 0, ideal, 1.0), np.nan)


def ndcg_at_k(labels: ArrayLike, scores: ArrayLike, k: int, candidates: ArrayLike | None = None) -> float:
    """The mean of DCG / ideal DCG over requests that have a gain.

    >>> round(ndcg_at_k([[0, 1]], [[2, 1]], k=2), 4)
    0.6309
    """
    return _mean_of_told(ndcgs(labels, scores, k, candidates))


def _mean_of_told(each: Floats) -> float:
    return _mean(each[~np.isnan(each)])


def _mean(values: ArrayLike) -> float:
    array = np.asarray(values, np.float64)
    return float(array.mean()) if array.size else float("nan")
