"""Arm 1: logistic regression of the clicked intent on the request's one-hot categories, numbers and events."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from features.schema import CATEGORICAL, EVENT_KIND_INDEX
from training.baselines.arm import F32
from training.losses import inverse_propensity
from training.trainer import Watch
from training.trial import Trial


class Logistic:
    """scikit-learn's multinomial logistic regression: one linear model an intent; clicks by inverse propensity.

    An intent without a click scores as its rarest sibling would: the smallest intercept.
    """

    def __init__(self, strength: float = 0.1) -> None:
        self._strength = strength
        self._model: Any = None
        self._scale: tuple[F32, F32] = (np.zeros(0, np.float32), np.ones(0, np.float32))

    def fit(self, trial: Trial, seed: int, watch: Watch | None = None) -> None:
        """Fits one example a click; L2 strength C = `strength`."""
        from sklearn.linear_model import LogisticRegression  # noqa: PLC0415 - an offline library

        numeric = trial.dataset.encoded.numeric
        self._scale = numeric.mean(axis=0), 1 / np.maximum(numeric.std(axis=0), 0.05)
        rows, slots = np.nonzero(trial.dataset.clicks)
        weight = inverse_propensity(trial.dataset.propensity)[rows, slots]
        chosen = trial.dataset.exposed[rows, slots]
        self._model = LogisticRegression(C=self._strength, max_iter=100, tol=1e-3, random_state=seed)
        self._model.fit(self._design(trial)[rows], chosen, sample_weight=weight / weight.mean())

    def scores(self, trial: Trial) -> F32:
        """Log odds against the others, f32[B,N]."""
        told = np.asarray(self._model.decision_function(self._design(trial)), np.float32)
        if told.ndim == 1:
            told = np.column_stack([-told, told])
        scores = np.full((len(trial), len(trial.known)), float(self._model.intercept_.min()), np.float32)
        scores[:, self._model.classes_] = told
        return scores

    def _design(self, trial: Trial) -> Any:
        """The sparse one-hot rows, [B, columns]."""
        from scipy.sparse import csr_matrix, hstack  # noqa: PLC0415 - an offline library

        encoded = trial.dataset.encoded
        starts = np.cumsum([0, *CATEGORICAL.values()])
        columns = encoded.categorical + starts[:-1]
        ones = np.ones(columns.size, np.float32)
        rows = np.repeat(np.arange(len(trial)), columns.shape[1])
        one_hot = csr_matrix((ones, (rows, columns.ravel())), shape=(len(trial), int(starts[-1])))
        scaled = ((encoded.numeric - self._scale[0]) * self._scale[1]).clip(-5, 5)
        return hstack([one_hot, csr_matrix(scaled), csr_matrix(event_counts(encoded.event_kinds))]).tocsr()


def event_counts(kinds: NDArray[np.int64]) -> F32:
    """How often each kind is among the last events, f32[B, kinds + 1]."""
    counts = np.zeros((len(kinds), len(EVENT_KIND_INDEX) + 1), np.float32)
    np.add.at(counts, (np.repeat(np.arange(len(kinds)), kinds.shape[1]), kinds.ravel()), 1.0)
    counts[:, 0] = 0.0
    return counts
