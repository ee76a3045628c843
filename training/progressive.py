"""Progressive validation: every impression of a log is ranked before anything is learned from it.

QE-Rec (equations 2-8, over hashed columns) learns from chunks in order of time: a step on each, and `REPLAYS` more on
draws from a small reservoir of what is past; its moving average is what ranks. Beside it stand what needs no training:
the clicks of each candidate so far, the cosine of words and candidate, and the order in which candidates were shown.
"""

from __future__ import annotations

import copy
from collections.abc import Iterable, Iterator

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from training.impression_arrays import Arrays, Chunk
from training.impression_figures import Figures
from training.impressions import Impression
from training.losses import ranking_loss
from training.qerec import create
from training.trainer import GRADIENT_CLIP

F32 = NDArray[np.float32]
ROWS = 64
REPLAYS = 3
RESERVOIR = 1024
RATE, DECAY = 2e-3, 0.05
EMA = 0.98
_PRIOR = 10.0


def validate(
    log: Iterable[Impression], texts: dict[str, str], arrays: Arrays, *, seed: int, warm_up: int = 0
) -> Iterator[tuple[int, Figures]]:
    """Yields (impressions so far, the figures so far) after every chunk, in memory that does not grow with the log.

    The first `warm_up` impressions are learned from and not counted. Impressions of one moment stay in one chunk, so
    that nothing is ranked after something of the same moment was learned; a long one (a log that knows only days) is
    ranked and learned from `ROWS` at a time.
    """
    figures, learner, clicks = Figures(), Learner(arrays, seed), Clicks(len(texts))
    done = 0
    for told in chunks(log, ROWS):
        parts = [told[start : start + ROWS] for start in range(0, len(told), ROWS)]
        for chunk in map(arrays.chunk, parts if done >= warm_up else ()):
            named = {"qerec": learner.scores(chunk), "clicks so far": clicks.scores(chunk)}
            figures.add(chunk, named | {"cosine": _cosine(chunk), "shown order": _order(chunk)})
        for chunk in map(arrays.chunk, parts):
            learner.learn(chunk)
            clicks.learn(chunk)
        done += len(told)
        yield done, figures


def chunks(log: Iterable[Impression], rows: int) -> Iterator[list[Impression]]:
    """At least `rows` impressions each, but for the last; one moment is never split."""
    told: list[Impression] = []
    for impression in log:
        if len(told) >= rows and impression.time_ms > told[-1].time_ms:
            yield told
            told = []
        told.append(impression)
    if told:
        yield told


class Learner:
    """A QE-Rec that learns chunk by chunk."""

    def __init__(self, arrays: Arrays, seed: int) -> None:
        self._arrays = arrays
        self.model = create(arrays.shape(), seed)
        self.model.tower.state_mean.copy_(torch.from_numpy(arrays.state.mean(axis=0)))
        self._average = copy.deepcopy(self.model).eval().requires_grad_(requires_grad=False)
        self._optimizer = torch.optim.AdamW(self.model.parameters(), lr=RATE, weight_decay=DECAY)
        self._rng = np.random.default_rng(seed)
        self._generator = torch.Generator().manual_seed(seed)
        self._past: list[Impression] = []
        self._seen = self._steps = 0

    def scores(self, chunk: Chunk) -> F32:
        """Scores f32[B,K] of what was shown."""
        with torch.no_grad():
            logits = self._average(chunk.features, chunk.intents)
        return _taken(logits.numpy(), chunk)

    def learn(self, chunk: Chunk) -> None:
        """One step on the chunk, and some on as many impressions of the past."""
        self._step(chunk)
        for _ in range(REPLAYS if len(self._past) >= ROWS else 0):
            drawn = self._rng.choice(len(self._past), ROWS, replace=False)
            self._step(self._arrays.chunk([self._past[place] for place in drawn]))
        self._remember(chunk.impressions)

    def _step(self, chunk: Chunk) -> None:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(int(torch.randint(2**31, (1,), generator=self._generator)))
            self.model.train()
            self._optimizer.zero_grad(set_to_none=True)
            logits = self.model(chunk.features, chunk.intents)
            ranking_loss(logits, chunk.feedback, self.model.position_bias).backward()  # type: ignore[no-untyped-call]
        nn.utils.clip_grad_norm_(self.model.parameters(), GRADIENT_CLIP)
        self._optimizer.step()
        self._steps += 1
        decay = min(EMA, self._steps / (self._steps + 2))
        with torch.no_grad():
            for mean, now in zip(self._average.parameters(), self.model.parameters(), strict=True):
                mean.lerp_(now, 1 - decay)

    def _remember(self, told: Iterable[Impression]) -> None:
        """Reservoir sampling: every impression so far is in it with the same chance."""
        for impression in told:
            self._seen += 1
            if len(self._past) < RESERVOIR:
                self._past.append(impression)
            elif (place := int(self._rng.integers(self._seen))) < RESERVOIR:
                self._past[place] = impression


class Clicks:
    """The smoothed share of impressions in which each candidate was clicked so far."""

    def __init__(self, candidates: int) -> None:
        self._clicks, self._shown = np.zeros(candidates), np.zeros(candidates)

    def scores(self, chunk: Chunk) -> F32:
        """Shares f32[B,K]."""
        total = (self._clicks.sum() + 1) / (self._shown.sum() + _PRIOR)
        share = (self._clicks + _PRIOR * total) / (self._shown + _PRIOR)
        return _taken(np.broadcast_to(share[_rows(chunk)], (len(chunk.shown), len(_rows(chunk)))), chunk)

    def learn(self, chunk: Chunk) -> None:
        """Counts what was shown and clicked."""
        seen = chunk.shown >= 0
        rows = _rows(chunk)[chunk.shown[seen]]
        np.add.at(self._shown, rows, 1.0)
        np.add.at(self._clicks, rows, (chunk.feedback.clicks * chunk.feedback.weights).numpy()[seen])


def _rows(chunk: Chunk) -> NDArray[np.int64]:
    """Each column's candidate, i64[M]."""
    return chunk.intents[0].numpy() - 1


def _cosine(chunk: Chunk) -> F32:
    query, vectors = chunk.features.query.numpy(), chunk.intents[1].numpy()
    lengths = np.linalg.norm(query, axis=1, keepdims=True) * np.linalg.norm(vectors, axis=1)
    return _taken(query @ vectors.T / np.maximum(lengths, 1e-9), chunk)


def _order(chunk: Chunk) -> F32:
    return np.asarray(-np.arange(chunk.shown.shape[1]) + np.zeros(chunk.shown.shape), np.float32)


def _taken(scores: NDArray[np.floating], chunk: Chunk) -> F32:
    """The scores f32[B,K] of what was shown, out of [B,M]."""
    return np.asarray(np.take_along_axis(np.asarray(scores), chunk.shown.clip(0), axis=1), np.float32)
