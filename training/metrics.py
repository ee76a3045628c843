"""Ranking, calibration and off-policy metrics, exactly as algorithm.md 3.1 defines them, with paired intervals.

Ties between scores are broken by a fixed hash of the item's column, never by its position in the input.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]

_MASK64 = np.uint64(0xFFFFFFFFFFFFFFFF)


class Interval(NamedTuple):
    """A mean and its two-sided bootstrap interval."""

    mean: float
    low: float
    high: float


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


def gauc(labels: ArrayLike, scores: ArrayLike, groups: ArrayLike, weights: ArrayLike | None = None) -> GroupedAuc:
    """The mean AUC over groups, weighted by impressions (or the summed `weights`):  sum n_g AUC_g / sum n_g.

    Groups of one class are skipped. All arguments are flat, one entry an impression.

    >>> gauc([1, 0, 0, 0, 1, 0, 0, 1, 1], [.9, .8, .1, .6, .4, .3, .2, 1, 2], list("aaabbccdd"))
    GroupedAuc(value=0.6, groups=2, skipped_share=0.5)
    """
    y, s = np.asarray(labels) > 0, np.asarray(scores, np.float64)
    unique, g = np.unique(np.asarray(groups), return_inverse=True)
    n, total = len(unique), len(y)
    w = np.ones(total) if weights is None else np.asarray(weights, np.float64)
    order = np.lexsort((s, g))
    positives, negatives = np.bincount(g[y], minlength=n), np.bincount(g[~y], minlength=n)
    starts = np.cumsum(positives + negatives) - positives - negatives
    ranks = np.empty(total)
    ranks[order] = _grouped_midranks(g[order], s[order]) - starts[g[order]]
    rank_sums = np.bincount(g[y], ranks[y], minlength=n)
    valid = (positives > 0) & (negatives > 0)
    if not valid.any():
        return GroupedAuc(float("nan"), 0, 1.0)
    each = (rank_sums - positives * (positives + 1) / 2)[valid] / (positives * negatives)[valid]
    n_g = np.bincount(g, w, minlength=n)[valid]
    return GroupedAuc(float(each @ n_g / n_g.sum()), int(valid.sum()), float(1 - valid.mean()))


def _grouped_midranks(group: NDArray[np.int64], score: Floats) -> Floats:
    """Ranks from 1 over the sorted concatenation of all groups; equal scores of one group share their mean rank."""
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


def ranks(scores: ArrayLike, candidates: ArrayLike | None = None) -> NDArray[np.int64]:
    """The rank of every column in its row, 1 = best, i64[B, N]; columns that are no candidates come last.

    >>> ranks([[.1, .9, .5]]).tolist()
    [[3, 1, 2]]
    """
    s = np.asarray(scores, np.float64)
    s = s if candidates is None else np.where(np.asarray(candidates), s, -np.inf)
    tie = np.broadcast_to(_column_hash(s.shape[1]), s.shape)
    order = np.lexsort((tie, -s), axis=1)
    ranked = np.empty(s.shape, np.int64)
    np.put_along_axis(ranked, order, np.broadcast_to(np.arange(1, s.shape[1] + 1), s.shape), axis=1)
    return ranked


def _column_hash(columns: int) -> NDArray[np.uint64]:
    """splitmix64 of the column index: the fixed order among equal scores."""
    z = (np.arange(1, columns + 1, dtype=np.uint64) * np.uint64(0x9E3779B97F4A7C15)) & _MASK64
    z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return np.asarray(z ^ (z >> np.uint64(31)))


def recall_at_k(labels: ArrayLike, scores: ArrayLike, k: int, candidates: ArrayLike | None = None) -> float:
    """The mean over requests with a positive of |top k and P| / |P|; arguments are [B, N].

    >>> recall_at_k([[1, 0, 1], [0, 0, 0]], [[.9, .8, .1], [1, 2, 3]], k=1)
    0.5
    """
    y = np.asarray(labels) > 0
    valid = y.any(axis=1)
    hits = (y & (ranks(scores, candidates) <= k)).sum(axis=1)
    return _mean(hits[valid] / y[valid].sum(axis=1))


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
    each = reciprocal_ranks(labels, scores, candidates)
    return _mean(each[~np.isnan(each)])


def ndcg_at_k(labels: ArrayLike, scores: ArrayLike, k: int, candidates: ArrayLike | None = None) -> float:
    """DCG / ideal DCG with gains 2^y - 1 and discounts log2(rank + 1), over requests that have a gain.

    >>> round(ndcg_at_k([[0, 1]], [[2, 1]], k=2), 4)
    0.6309
    """
    gains = np.exp2(np.asarray(labels, np.float64)) - 1
    discount = 1 / np.log2(np.arange(2, gains.shape[1] + 2)) * (np.arange(gains.shape[1]) < k)
    dcg = (gains * discount[ranks(scores, candidates) - 1]).sum(axis=1)
    ideal = (-np.sort(-gains, axis=1) * discount).sum(axis=1)
    return _mean(dcg[ideal > 0] / ideal[ideal > 0])


def logloss(labels: ArrayLike, probabilities: ArrayLike) -> float:
    """The mean negative log likelihood, probabilities clipped to [1e-7, 1 - 1e-7].

    >>> round(logloss([1, 0], [.5, .5]), 4)
    0.6931
    """
    y, p = np.asarray(labels, np.float64), np.clip(np.asarray(probabilities, np.float64), 1e-7, 1 - 1e-7)
    return _mean(-(y * np.log(p) + (1 - y) * np.log1p(-p)))


def ece(labels: ArrayLike, probabilities: ArrayLike, bins: int = 15) -> float:
    """The expected calibration error over equal-mass bins:  sum n_b / n |mean y_b - mean p_b|.

    >>> round(ece([1, 0, 1, 1], [.5, .5, .9, .9], bins=2), 6)
    0.05
    """
    y, p = np.asarray(labels, np.float64), np.asarray(probabilities, np.float64)
    order = np.argsort(p, kind="stable")
    parts = [part for part in np.array_split(order, bins) if len(part)]
    return float(sum(len(part) * abs(y[part].mean() - p[part].mean()) for part in parts) / max(len(y), 1))


def ips(rewards: ArrayLike, weights: ArrayLike) -> float:
    """The inverse-propensity estimate  mean(w r),  w = pi_e / pi_0.

    >>> ips([1, 0], [2.0, 1.0])
    1.0
    """
    return _mean(np.asarray(rewards, np.float64) * np.asarray(weights, np.float64))


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


def paired_cluster_bootstrap(
    deltas: ArrayLike,
    clusters: ArrayLike,
    *,
    replicates: int = 2000,
    seed: int = 0,
    weights: ArrayLike | None = None,
) -> Interval:
    """The (weighted) mean of paired differences and its 95 % percentile interval, whole clusters resampled.

    One entry a request in `deltas`, `clusters` (its user) and `weights`. Raises ValueError without entries.
    """
    d = np.asarray(deltas, np.float64)
    if len(d) == 0:
        raise ValueError("found no paired differences; expected at least one request scored by both rankers")
    w = np.ones(len(d)) if weights is None else np.asarray(weights, np.float64)
    _, of = np.unique(np.asarray(clusters), return_inverse=True)
    sums, masses = np.bincount(of, w * d), np.bincount(of, w)
    draws = np.random.default_rng(seed).multinomial(len(sums), np.full(len(sums), 1 / len(sums)), size=replicates)
    means = (draws @ sums) / np.maximum(draws @ masses, 1e-300)
    low, high = np.quantile(means, [0.025, 0.975])
    return Interval(float(sums.sum() / masses.sum()), float(low), float(high))


def _mean(values: ArrayLike) -> float:
    array = np.asarray(values, np.float64)
    return float(array.mean()) if array.size else float("nan")
