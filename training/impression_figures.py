"""GAUC, MRR, NDCG@5 and Recall@3 of a log as it goes by, with intervals, in memory that does not grow with it.

Groups are impressions: each counts with its clicks' weight, and the intervals resample users. Users are kept as sums
of `CLUSTERS` hash buckets; a user is never split over two, so the intervals stay honest and the memory bounded.
"""

from __future__ import annotations

from collections.abc import Mapping

import mmh3
import numpy as np
from numpy.typing import NDArray

from training.impression_arrays import Chunk
from training.metrics import Interval

F32 = NDArray[np.float32]
F64 = NDArray[np.float64]
CLUSTERS = 4096
NAMES = ("GAUC", "MRR", "NDCG@5", "Recall@3")
REPLICATES = 1000


class Figures:
    """Sums of every ranker's metrics and of the weights, by cluster of users."""

    def __init__(self) -> None:
        self._sums: dict[str, F64] = {}
        self._weights = np.zeros((CLUSTERS, len(NAMES)))
        self.impressions = self.clicked = 0

    def add(self, chunk: Chunk, scores: Mapping[str, F32]) -> None:
        """Counts a chunk by every ranker's scores f32[B,K] of what was shown."""
        self.impressions += len(chunk.impressions)
        for name, told in scores.items():
            self._sums.setdefault(name, np.zeros((CLUSTERS, len(NAMES))))
            for row, one in enumerate(chunk.impressions):
                if not one.clicked:
                    continue
                shares = np.array([one.clicked.get(candidate, 0.0) for candidate in one.candidates])
                ties = np.array([mmh3.hash(candidate, signed=False) for candidate in one.candidates])
                judged = judge(shares, told[row, : len(shares)], ties, is_shared=one.is_shared)
                cluster = mmh3.hash(one.user or str(one.time_ms), signed=False) % CLUSTERS
                weight = np.where(np.isnan(judged), 0.0, shares.sum())
                self._sums[name][cluster] += np.nan_to_num(judged) * weight
                if name == next(iter(scores)):
                    self.clicked += 1
                    self._weights[cluster] += weight

    def figures(self) -> dict[str, dict[str, Interval]]:
        """{ranker: {metric: mean and 95 % interval}}."""
        return {name: self._intervals(sums) for name, sums in self._sums.items()}

    def difference(self, ranker: str, other: str) -> dict[str, Interval]:
        """One ranker minus another on the same impressions, metric by metric."""
        return self._intervals(self._sums[ranker] - self._sums[other])

    def _intervals(self, sums: F64) -> dict[str, Interval]:
        alive = self._weights.any(axis=1)
        tops, weights = sums[alive], self._weights[alive]
        if not len(tops):
            return dict.fromkeys(NAMES, Interval(float("nan"), float("nan"), float("nan")))
        chance = np.full(len(tops), 1 / len(tops))
        draws = np.random.default_rng(0).multinomial(len(tops), chance, REPLICATES)
        means = (draws @ tops) / np.maximum(draws @ weights, 1e-300)
        low, high = np.quantile(means, [0.025, 0.975], axis=0)
        mean = tops.sum(axis=0) / np.maximum(weights.sum(axis=0), 1e-300)
        return {name: Interval(float(mean[i]), float(low[i]), float(high[i])) for i, name in enumerate(NAMES)}


def judge(shares: F64, scores: F32, ties: NDArray[np.int64], *, is_shared: bool) -> F64:
    """(AUC, reciprocal rank, NDCG@5, recall@3) of one impression's click shares f64[K]; NaN AUC without a pair.

    A click is compared with what nobody clicked; with `is_shared` every click with all other candidates, weighted by
    its share, as if each share were as many impressions. Equal scores are ordered by `ties`.

    >>> judge(np.array([0.0, 1.0]), np.array([1.0, 2.0]), np.array([0, 1]), is_shared=False).tolist()
    [1.0, 1.0, 1.0, 1.0]
    """
    rank = np.empty(len(shares))
    rank[np.lexsort((ties, -scores))] = np.arange(1, len(shares) + 1)
    won = (scores[:, None] > scores) + 0.5 * (scores[:, None] == scores)
    against = ~np.eye(len(shares), dtype=np.bool_) if is_shared else np.broadcast_to(shares == 0, won.shape)
    pairs = shares[:, None] * against
    auc = (pairs * won).sum() / pairs.sum() if pairs.any() else np.nan
    weight, hit = shares / shares.sum(), rank <= 3
    if not is_shared:
        gains = shares / np.log2(rank + 1) * (rank <= 5)
        ideal = (-np.sort(-shares) / np.log2(np.arange(2, len(shares) + 2)))[:5].sum()
        return np.array([auc, (1 / rank[shares > 0]).max(), gains.sum() / ideal, hit[shares > 0].mean()])
    discounted = np.where(rank <= 5, 1 / np.log2(rank + 1), 0.0)
    return np.array([auc, weight @ (1 / rank), weight @ discounted, weight @ hit])
