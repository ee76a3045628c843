"""Arm 0: how often each intent was clicked in this context (language x order state x page), shrunk to all contexts."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from features.schema import CATEGORICAL
from training.baselines.arm import F32
from training.losses import inverse_propensity
from training.trainer import Watch
from training.trial import Trial

_COLUMNS = [list(CATEGORICAL).index(name) for name in ("order_status", "trigger_page", "locale")]


class Popularity:
    """Clicks by inverse propensity; `prior` clicks of the coarser context (all, order state, all three) are added."""

    def __init__(self, prior: float = 5.0) -> None:
        self._prior = prior
        self._tables: list[dict[tuple[int, ...], F32]] = []

    def fit(self, trial: Trial, seed: int, watch: Watch | None = None) -> None:
        """Counts."""
        d = trial.dataset
        rows, slots = np.nonzero(d.clicks)
        weight, chosen = inverse_propensity(d.propensity)[rows, slots], d.exposed[rows, slots]
        contexts = _contexts(trial)[rows]
        intents = len(d.intent_ids)
        self._tables = []
        for depth in range(contexts.shape[1] + 1):
            table: dict[tuple[int, ...], F32] = {}
            for context, intent, click in zip(contexts[:, :depth], chosen, weight, strict=True):
                table.setdefault(tuple(context.tolist()), np.zeros(intents, np.float32))[intent] += click
            self._tables.append(table)

    def scores(self, trial: Trial) -> F32:
        """The log of the smoothed share of clicks, f32[B,N]."""
        contexts = _contexts(trial)
        unique, place = np.unique(contexts, axis=0, return_inverse=True)
        shares = np.stack([self._share(context.tolist()) for context in unique])
        return np.asarray(np.log(shares[place.ravel()]), np.float32)

    def _share(self, context: list[int]) -> F32:
        share = np.full(len(next(iter(self._tables[0].values()), np.ones(1))), 1.0, np.float32)
        share /= share.sum()
        for depth, table in enumerate(self._tables):
            if (clicks := table.get(tuple(context[:depth]))) is not None:
                share = (clicks + self._prior * share) / (clicks.sum() + self._prior)
        return share


def _contexts(trial: Trial) -> NDArray[np.int64]:
    """Order state, page and language of each request, i64[B,3]: the coarsest first."""
    return trial.dataset.encoded.categorical[:, _COLUMNS]
