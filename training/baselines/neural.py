"""A neural ranker as an arm: built for a trial, fitted by the one trainer with the one loss (8)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import torch

from features.schema import CATEGORICAL, NUMERIC
from training.autoint import Fields
from training.baselines.arm import F32
from training.baselines.parts import Sizes
from training.checkpoint import shape_for
from training.held_out import scores
from training.qerec import create
from training.scoring import Scorer
from training.trainer import Schedule, Watch, fit
from training.trial import Trial

Build = Callable[[Trial, int, float], Scorer]
"""(trial, seed, dropout) -> an untrained ranker."""


class Neural:
    """Any `Scorer`; `rate`, `decay` and `dropout` are what is tuned."""

    def __init__(self, build: Build, rate: float = 2e-3, decay: float = 0.1, dropout: float = 0.2) -> None:
        self._build, self._dropout = build, dropout
        self._schedule = Schedule(rate=rate, decay=decay)
        self.model: Scorer | None = None

    def fit(self, trial: Trial, seed: int, watch: Watch | None = None) -> None:
        """Fits on the trial; its last part stops the fit."""
        self.model = self._build(trial, seed, self._dropout)
        fit(self.model, trial.examples, self._schedule, seed, watch=watch)

    def scores(self, trial: Trial) -> F32:
        """Logits f32[B,N]."""
        if self.model is None:
            raise ValueError("asked an arm for scores that was never fitted; expected fit first")
        return np.asarray(scores(self.model, trial.examples, torch.arange(len(trial))).numpy(), np.float32)


def baseline(kind: Callable[[Sizes], Scorer]) -> Build:
    """How a baseline is built: its sizes from the trial, its weights from the seed, its scales from the numbers."""

    def build(trial: Trial, seed: int, dropout: float) -> Scorer:
        sizes = Sizes(
            numeric=len(NUMERIC),
            categories=tuple(CATEGORICAL.values()),
            event_kinds=CATEGORICAL["trigger_kind"],
            text_width=trial.text.shape[1],
            intents=len(trial.known),
            families=len(set(trial.families)),
            dropout=dropout,
        )
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            model = kind(sizes)
        for part in model.modules():
            if isinstance(part, Fields):
                part.settle(torch.from_numpy(trial.dataset.encoded.numeric))
        return model

    return build


def qerec(trial: Trial, seed: int, dropout: float) -> Scorer:
    """Arm 8."""
    shape = shape_for(len(trial.known), len(set(trial.families)), trial.text.shape[1], trial.state.shape[1])
    model = create(replace(shape, dropout=dropout), seed)
    model.settle(torch.from_numpy(trial.dataset.encoded.numeric), torch.from_numpy(trial.state))
    return model
