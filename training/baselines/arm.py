"""The contract of every arm of the comparison."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from training.trainer import Watch
from training.trial import Trial

F32 = NDArray[np.float32]
Settings = Mapping[str, float]


class Arm(Protocol):
    """A ranker that learns from one trial and scores another over the same intents."""

    def fit(self, trial: Trial, seed: int, watch: Watch | None = None) -> None:
        """Learns from logged requests in order of event time; equal trials and seeds give equal scores."""
        ...

    def scores(self, trial: Trial) -> F32:
        """Scores f32[B,N]; the larger, the more likely a click."""
        ...
