"""Arms 3 and 7b: LightGBM's LambdaRank over hand-made features of (request, intent), without and with the cosine."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from training.baselines.arm import F32
from training.baselines.logistic import event_counts
from training.baselines.popularity import Popularity
from training.losses import inverse_propensity
from training.trainer import Watch
from training.trial import Trial

SAMPLED = 40
"""Unexposed eligible intents that stand beside a slate in training, each weighing 0.2 as in (6)."""
_TEXT_DIRECTIONS = 8
_FOLDS = 5


class LambdaMart:
    """Gradient-boosted trees for lists with a click.

    The features of a pair: the request's columns, the intent's id, family and main directions of its text, its
    popularity in the request's context (counted out of fold in training) and, `with_cosine`, the query's cosine.
    """

    def __init__(
        self, *, with_cosine: bool, leaves: float = 15, rate: float = 0.05, rounds: float = 150, least: float = 20
    ) -> None:
        self._with_cosine = with_cosine
        self._leaves, self._rate, self._rounds, self._least = int(leaves), rate, int(rounds), int(least)
        self._popularity = Popularity()
        self._model: Any = None

    def fit(self, trial: Trial, seed: int, watch: Watch | None = None) -> None:
        """Trains on the requests with a click: their slates and a draw of what was not shown."""
        import lightgbm  # noqa: PLC0415 - an offline library

        popular = self._out_of_fold(trial)
        self._popularity.fit(trial, seed)
        clicked = np.flatnonzero(trial.dataset.has_click)
        rows, columns, labels, weights = _pairs(trial, clicked, np.random.default_rng(seed))
        design = self._design(trial, rows, columns, popular)
        groups = np.bincount(rows, minlength=len(trial))[clicked]
        data = lightgbm.Dataset(
            design, labels, weight=weights, group=groups, categorical_feature=self._categorical(trial)
        )
        settings = {
            "objective": "lambdarank", "num_leaves": self._leaves, "learning_rate": self._rate, "verbosity": -1,
            "min_data_in_leaf": self._least, "bagging_fraction": 0.8, "bagging_freq": 1, "feature_fraction": 0.6,
            "lambda_l2": 1.0, "seed": seed, "deterministic": True, "num_threads": 1, "lambdarank_truncation_level": 10,
        }  # fmt: skip
        self._model = lightgbm.train(settings, data, num_boost_round=self._rounds)

    def scores(self, trial: Trial) -> F32:
        """The trees' scores of every eligible pair, f32[B,N]; the others are far below."""
        rows, columns = np.nonzero(trial.dataset.eligible)
        popular = self._popularity.scores(trial)
        scores = np.full(trial.dataset.eligible.shape, -1e3, np.float32)
        for part in np.array_split(np.arange(len(rows)), max(1, len(rows) // 100_000)):
            design = self._design(trial, rows[part], columns[part], popular)
            scores[rows[part], columns[part]] = self._model.predict(design, num_threads=1)
        return scores

    def _out_of_fold(self, trial: Trial) -> F32:
        """The popularity of each request, counted without its own clicks: folds are users."""
        fold = np.array([hash_of(user) % _FOLDS for user in trial.dataset.user])
        popular = np.zeros((len(trial), len(trial.known)), np.float32)
        for number in range(_FOLDS):
            inside, outside = np.flatnonzero(fold == number), np.flatnonzero(fold != number)
            if len(inside) and trial.dataset.clicks[outside].any():
                counted = Popularity()
                counted.fit(trial.take(outside), 0)
                popular[inside] = counted.scores(trial.take(inside))
        return popular

    def _design(self, trial: Trial, rows: NDArray[np.int64], columns: NDArray[np.int64], popular: F32) -> F32:
        """One row a pair."""
        encoded = trial.dataset.encoded
        request = np.column_stack([encoded.categorical, encoded.numeric, event_counts(encoded.event_kinds)])
        index = np.where(trial.known, np.arange(len(trial.known)), -1)
        intent = np.column_stack([index, trial.family_index, _directions(trial.text)])
        parts = [intent[columns], request[rows], popular[rows, columns][:, None]]
        if self._with_cosine:
            parts += [trial.cosine()[rows, columns][:, None], trial.has_query[rows].astype(np.float32)[:, None]]
        return np.concatenate(parts, axis=1).astype(np.float32)

    @staticmethod
    def _categorical(trial: Trial) -> list[int]:
        """Which columns of the design are categories: id, family, and the request's own."""
        first = 2 + _TEXT_DIRECTIONS
        return [0, 1, *range(first, first + trial.dataset.encoded.categorical.shape[1])]


def hash_of(text: str) -> int:
    """A number that depends on the text alone."""
    import mmh3  # noqa: PLC0415 - beside its only use

    return int(mmh3.hash(text, signed=False))


def _pairs(
    trial: Trial, clicked: NDArray[np.int64], rng: np.random.Generator
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.float32], NDArray[np.float32]]:
    """(rows, columns, labels, weights) of what was shown and a draw of what was not, request by request."""
    d, omega = trial.dataset, inverse_propensity(trial.dataset.propensity)
    parts = []
    for row in clicked:
        shown = d.exposed[row][d.seen[row]]
        rest = np.setdiff1d(np.flatnonzero(d.eligible[row]), shown)
        rest = rng.permutation(rest)[:SAMPLED]
        columns = np.concatenate([shown, rest])
        labels = np.concatenate([d.clicks[row][d.seen[row]], np.zeros(len(rest), np.float32)])
        weight = float((omega[row] * d.clicks[row]).sum())
        weights = weight * np.concatenate([np.ones(len(shown)), np.full(len(rest), 0.2)])
        parts.append((np.full(len(columns), row), columns, labels, weights))
    rows, columns, labels, weights = (np.concatenate(part) for part in zip(*parts, strict=True))
    return rows, columns, labels.astype(np.float32), (weights / weights.mean()).astype(np.float32)


def _directions(text: F32) -> F32:
    """The intents' texts along their main directions, f32[N, 8]."""
    centred = text - text.mean(axis=0)
    _, _, axes = np.linalg.svd(centred, full_matrices=False)
    found = centred @ axes[:_TEXT_DIRECTIONS].T
    return np.asarray(np.pad(found, ((0, 0), (0, _TEXT_DIRECTIONS - found.shape[1]))), np.float32)
