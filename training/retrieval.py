"""How well vectors of questions find the vector of their answer: ranks by cosine, recall, MRR, and their intervals."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from training.metrics import Interval, auc, paired_cluster_bootstrap, ranks

F64 = NDArray[np.float64]
I64 = NDArray[np.int64]

REPLICATES = 2000
_AUC_REPLICATES = 1000


@dataclass(frozen=True, slots=True)
class Retrieval:
    """The shares of questions whose answer is first, and among the first three, and the mean of 1 / rank."""

    recall_at_1: Interval
    recall_at_3: Interval
    mrr: Interval
    n: int


def cosines(questions: ArrayLike, answers: ArrayLike) -> F64:
    """The cosine of every question with every answer, f64[B, N]; a zero vector is like nothing (0).

    >>> cosines([[1.0, 0.0], [0.0, 0.0]], [[2.0, 0.0], [0.0, 1.0]]).tolist()
    [[1.0, 0.0], [0.0, 0.0]]
    """
    return np.asarray(_unit(questions) @ _unit(answers).T)


def _unit(vectors: ArrayLike) -> F64:
    v = np.asarray(vectors, np.float64)
    return np.asarray(v / np.maximum(np.linalg.norm(v, axis=1, keepdims=True), 1e-12))


def centred_apart(vectors: ArrayLike, clusters: Sequence[str], seed: int) -> F64:
    """Each vector less the mean of vectors of other clusters: a stored mean never saw what it is subtracted from.

    The clusters fall into two halves, each centred by the mean of the other's vectors. With a single cluster there is
    no other, and nothing is subtracted.
    """
    v = np.asarray(vectors, np.float64)
    _, of = np.unique(np.asarray(clusters), return_inverse=True)
    halves = np.random.default_rng(seed).permutation(int(of.max(initial=-1)) + 1) % 2
    first = halves[of] == 0
    if first.all() or not first.any():
        return v
    means = np.where(first[:, None], v[~first].mean(axis=0), v[first].mean(axis=0))
    return np.asarray(v - means)


def centred(vectors: ArrayLike) -> F64:
    """The vectors less their own mean: what a knowledge base, known in full, is centred by."""
    v = np.asarray(vectors, np.float64)
    return np.asarray(v - v.mean(axis=0))


def true_ranks(scores: ArrayLike, truths: ArrayLike) -> I64:
    """The rank i64[B] (1 = best) of each question's true answer among all answers; `truths` are columns.

    >>> true_ranks([[0.1, 0.9], [0.8, 0.2]], [0, 0]).tolist()
    [2, 1]
    """
    return np.asarray(np.take_along_axis(ranks(scores), np.asarray(truths)[:, None], axis=1)[:, 0])


def retrieval(found: I64, clusters: Sequence[str], seed: int) -> Retrieval:
    """The metrics of true answers' ranks with 95 % intervals, whole clusters resampled. ValueError without a rank."""

    def told(values: ArrayLike) -> Interval:
        return paired_cluster_bootstrap(values, clusters, replicates=REPLICATES, seed=seed)

    return Retrieval(told((found <= 1) * 1.0), told((found <= 3) * 1.0), told(1.0 / found), len(found))


def mrr_difference(found: I64, reference: I64, clusters: Sequence[str], seed: int) -> Interval:
    """The mean of 1/rank - 1/rank of the reference on the same questions, with its 95 % interval."""
    return paired_cluster_bootstrap(1.0 / found - 1.0 / reference, clusters, replicates=REPLICATES, seed=seed)


def chance(answers: int) -> Retrieval:
    """What a random order of so many answers gets on average; nothing is uncertain about it.

    >>> [round(chance(10).recall_at_3.mean, 3), round(chance(2).mrr.mean, 3)]
    [0.3, 0.75]
    """

    def exactly(value: float) -> Interval:
        return Interval(value, value, value)

    harmonic = float((1 / np.arange(1, answers + 1)).sum())
    return Retrieval(exactly(1 / answers), exactly(min(1.0, 3 / answers)), exactly(harmonic / answers), 0)


def scope_auroc(in_scope: ArrayLike, out_of_scope: ArrayLike, seed: int) -> Interval:
    """P(an in-scope question's best score is above an out-of-scope one's), ties half, with a 95 % interval.

    Both sides are resampled apart. Raises ValueError when a side is empty.
    """
    inside, outside = np.asarray(in_scope, np.float64), np.asarray(out_of_scope, np.float64)
    if not len(inside) or not len(outside):
        raise ValueError(f"found {len(inside)} questions in scope and {len(outside)} out of it; expected some of both")
    rng = np.random.default_rng(seed)
    drawn = [_auroc(rng.choice(inside, len(inside)), rng.choice(outside, len(outside))) for _ in range(_AUC_REPLICATES)]
    low, high = np.quantile(drawn, [0.025, 0.975])
    return Interval(_auroc(inside, outside), float(low), float(high))


def _auroc(inside: F64, outside: F64) -> float:
    return auc(np.r_[np.ones(len(inside)), np.zeros(len(outside))], np.r_[inside, outside])
