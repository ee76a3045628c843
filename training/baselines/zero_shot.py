"""Arm 7: the zero-shot LLM, the centred cosine of query and intent; nothing is learned."""

from __future__ import annotations

from training.baselines.arm import F32
from training.trainer import Watch
from training.trial import Trial


class ZeroShot:
    """The cosine alone."""

    def fit(self, trial: Trial, seed: int, watch: Watch | None = None) -> None:
        """Learns nothing."""

    def scores(self, trial: Trial) -> F32:
        """The centred cosine f32[B,N]; requests without a query tie everywhere."""
        return trial.cosine()
