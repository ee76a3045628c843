"""From scores to click probabilities: Platt scaling at position 1, fitted on a later slice than the ranker saw."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import orjson
from numpy.typing import NDArray

F32 = NDArray[np.float32]
MIN_SLOPE = 1e-2


@dataclass(frozen=True)
class Calibrator:
    """p = sigmoid(a s + b) at position 1: equation (21) without field biases; a > 0, so order never changes."""

    a: float
    b: float

    def probability(self, logits: F32) -> F32:
        """Click probabilities, same shape as `logits`."""
        return np.asarray(0.5 + 0.5 * np.tanh(0.5 * (self.a * logits + self.b)), np.float32)

    def save(self, path: Path) -> None:
        """Writes {"a": ..., "b": ...}."""
        path.write_bytes(orjson.dumps({"a": self.a, "b": self.b}))

    @classmethod
    def load(cls, path: Path) -> Calibrator:
        """What `save` wrote."""
        told = orjson.loads(path.read_bytes())
        return cls(float(told["a"]), float(told["b"]))


def fit(
    logits: F32, exposed: NDArray[np.int64], positions: NDArray[np.int64], clicks: F32, *, ridge: float = 1.0
) -> Calibrator:
    """Fits (21) to shown prompts: logits f32[B,N]; exposed (-1 = none), positions (from 1) and clicks [B,K].

    Each lower position has its own offset in the fit, which is dropped at serving: the answer is for position 1.
    Raises ValueError when nothing was shown.
    """
    return fit_by_position(logits, exposed, positions, clicks, ridge=ridge)[0]


def fit_by_position(
    logits: F32,
    exposed: NDArray[np.int64],
    positions: NDArray[np.int64],
    clicks: F32,
    *,
    ridge: float = 1.0,
    rounds: int = 50,
) -> tuple[Calibrator, NDArray[np.float64]]:
    """The calibrator of `fit`, and what each position adds to its logit, f64[last position + 1] (0 for position 1).

    Newton's method; `ridge` pulls the slope towards 1 and offsets towards 0 by that many pseudo-observations.
    """
    rows, slots = np.nonzero(exposed >= 0)
    if not len(rows):
        raise ValueError("no shown prompt to calibrate on; expected some: hold out a later slice of the log")
    s = logits[rows, exposed[rows, slots]].astype(np.float64)
    place = positions[rows, slots]
    below = np.arange(2, max(int(place.max()), 1) + 1)
    design = np.column_stack([s, np.ones_like(s), place[:, None] == below])
    start = np.zeros(design.shape[1])
    start[0] = 1.0
    penalty = np.full(len(start), ridge)
    penalty[1] = 1e-6
    weights = _newton(design, clicks[rows, slots].astype(np.float64), start, penalty, rounds)
    fitted = Calibrator(max(float(weights[0]), MIN_SLOPE), float(np.clip(weights[1], -50.0, 50.0)))
    return fitted, np.concatenate([[0.0, 0.0], weights[2:]])


def _newton(
    design: NDArray[np.float64],
    clicked: NDArray[np.float64],
    start: NDArray[np.float64],
    penalty: NDArray[np.float64],
    rounds: int,
) -> NDArray[np.float64]:
    weights = start.copy()
    for _ in range(rounds):
        p = 1.0 / (1.0 + np.exp(-np.clip(design @ weights, -30.0, 30.0)))
        gradient = design.T @ (p - clicked) + penalty * (weights - start)
        curvature = (design * (p * (1.0 - p) + 1e-9)[:, None]).T @ design + np.diag(penalty)
        step = np.linalg.solve(curvature, gradient)
        weights -= step * min(1.0, 2.0 / max(float(np.abs(step).max()), 1e-12))
        if np.abs(step).max() < 1e-8:
            break
    return weights
