"""The ranking losses of QE-Rec, each debiased exactly once: equations (6), (7) and (8) of the design.

Our specification where the design leaves room: omega of (6) is min(1 / e, `MAX_INVERSE_PROPENSITY`), where e is the
logged probability that the clicked intent stood at its position, as in the judge. Summed over positions that cancels
both what the policy favours and how much a position is examined, as far as it moves intents around; multiplying by the
inverse examination too would correct twice. (7) is conditional on what was shown where, so it needs b_k and no weight.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

BCE_WEIGHT = 3.0
"""The weight of (7) in (8): ten times the design's, because (6) alone leaves the scores of requests incomparable."""
UNEXPOSED_LOG_WEIGHT = math.log(0.2)
"""An intent that was not shown is not a certain negative."""
MAX_INVERSE_PROPENSITY = 10.0
MAX_INVERSE_EXAMINATION = 10.0
_MAX_EXAMINATION_WEIGHT = 50.0


@dataclass(frozen=True)
class Feedback:
    """What became of B slates of at most K prompts, over N intents; exposed is -1 and position 0 where there is none.

    exposed i64[B,K] index intents, positions i64[B,K] count from 1, clicks f32[B,K], weights f32[B,K] are omega of
    (6), eligible bool[B,N].
    """

    exposed: Tensor
    positions: Tensor
    clicks: Tensor
    weights: Tensor
    eligible: Tensor

    def take(self, index: Tensor) -> Feedback:
        """The slates at `index`."""
        columns = (self.exposed, self.positions, self.clicks, self.weights, self.eligible)
        return Feedback(*(column[index] for column in columns))


def examination(
    positions: NDArray[np.int64], clicks: NDArray[np.float32], propensity: NDArray[np.float32], prior: float = 20.0
) -> NDArray[np.float32]:
    """How much less position k is examined than position 1: theta f32[max position + 1], theta[0] = theta[1] = 1.

    The click rate of each position, self-normalised by inverse propensity (so any slate policy that randomises will
    do), shrunk by `prior` impressions towards position 1, never rising with the position.
    """
    weight = np.where(positions > 0, np.minimum(1.0 / np.maximum(propensity, 1e-9), _MAX_EXAMINATION_WEIGHT), 0.0)
    last = int(positions.max(initial=1))
    seen, clicked, count = (
        np.bincount(positions.ravel(), values.ravel().astype(np.float64), last + 1)
        for values in (weight, weight * clicks, positions > 0)
    )
    rate = clicked / np.maximum(seen, 1e-12)
    base = max(float(rate[1]), 1e-6)
    theta = (rate / base * count + prior) / (count + prior)
    theta[:2] = 1.0
    return np.minimum.accumulate(np.clip(theta, 1.0 / MAX_INVERSE_EXAMINATION, 1.0)).astype(np.float32)


def inverse_propensity(propensity: NDArray[np.float32]) -> NDArray[np.float32]:
    """Omega of (6) from the probability that an intent stood where it was shown, same shape; capped."""
    return np.minimum(1.0 / np.maximum(propensity, 1e-9), MAX_INVERSE_PROPENSITY).astype(np.float32)


def list_loss(logits: Tensor, feedback: Feedback) -> Tensor:
    """Equation (6): -sum w y log softmax(s) over eligible intents, divided by the batch's sum of w y.

    Normalised over the batch, because normalising per request cancels the weight of a single click. Requests without
    a click contribute nothing.
    """
    index = feedback.exposed.clamp(min=0)
    is_seen = feedback.exposed >= 0
    exposed = _exposed(feedback, index, is_seen)
    scores = torch.where(exposed, logits, logits + UNEXPOSED_LOG_WEIGHT)
    scores = scores.masked_fill(~(feedback.eligible | exposed), -1e9)
    chosen = torch.log_softmax(scores, -1).gather(1, index)
    weight = feedback.weights * feedback.clicks * is_seen
    return -(weight * chosen).sum() / weight.sum().clamp(min=1.0)


def _exposed(feedback: Feedback, index: Tensor, is_seen: Tensor) -> Tensor:
    """Where an intent was shown, bool[B,N]; absent slots, which point at intent 0, must not unset it."""
    counts = torch.zeros(feedback.eligible.shape, dtype=torch.int64)
    return counts.scatter_add(1, index, is_seen.long()) > 0


def click_loss(logits: Tensor, feedback: Feedback, position_bias: Tensor, idle_weight: float = 1.0) -> Tensor:
    """Equation (7): cross-entropy of clicks on shown prompts, s + b_k, requests without a click included.

    `idle_weight` is how many requests without a click each of those here stands for, where only a sample was drawn.
    """
    is_seen = feedback.exposed >= 0
    shown = logits.gather(1, feedback.exposed.clamp(min=0)) + position_bias[feedback.positions]
    each = functional.binary_cross_entropy_with_logits(shown, feedback.clicks, reduction="none")
    has_click = feedback.clicks.amax(1, keepdim=True) > 0
    weight = is_seen * torch.where(has_click, 1.0, idle_weight)
    return (each * weight).sum() / weight.sum().clamp(min=1.0)


def anchor_loss(logits: Tensor, teacher: Tensor, eligible: Tensor) -> Tensor:
    """KL(P_teacher || P_s) over eligible intents, mean of the batch: (8) with the previous ranker as its target."""
    ours, theirs = (torch.log_softmax(scores.masked_fill(~eligible, -1e9), -1) for scores in (logits, teacher))
    return functional.kl_div(ours, theirs, reduction="batchmean", log_target=True)


def ranking_loss(logits: Tensor, feedback: Feedback, position_bias: Tensor, idle_weight: float = 1.0) -> Tensor:
    """Equation (8) without its anchor; the norm penalty is the optimizer's weight decay."""
    return list_loss(logits, feedback) + BCE_WEIGHT * click_loss(logits, feedback, position_bias, idle_weight)
