"""The ranking losses of QE-Rec, each debiased exactly once: equations (6), (7) and (8) of the design.

Our specification where the design leaves room, and decided here once for all of training: omega of (6), and of (16) in
`training.rgcl`, is min(1 / e, `MAX_INVERSE_PROPENSITY`), where e is the logged probability that the clicked intent
stood at its position, as in the judge. Summed over positions that cancels both what the policy favours and how much a
position is examined, as far as it moves intents around; multiplying by the inverse examination too would correct
twice. (7) is conditional on what was shown where, so it needs b_k and no weight.

Where a batch is spread over processes, `across` adds a count over all of them, so that each loss is normalised over
the whole batch and the processes' gradients add up to those of one process.
"""

from __future__ import annotations

import math
from collections.abc import Callable
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
EMA_ANCHOR = 0.1
"""The weight of KL(P_EMA || P_s) in (8)."""

Across = Callable[[Tensor], Tensor]
"""Adds a number over all processes of a training run."""


def _alone(count: Tensor) -> Tensor:
    return count


@dataclass(frozen=True)
class Feedback:
    """What became of B slates of at most K prompts, over N intents; exposed is -1 and position 0 where there is none.

    exposed i64[B,K] index intents, positions i64[B,K] count from 1, clicks f32[B,K], weights f32[B,K] are omega of
    (6), eligible bool[B,N]; log_weights f32[N] are those of unexposed intents in (6) where only a sample of them
    stands here (`training.negatives`).
    """

    exposed: Tensor
    positions: Tensor
    clicks: Tensor
    weights: Tensor
    eligible: Tensor
    log_weights: Tensor | None = None

    def columns(self) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
        """The five columns that have a row a slate."""
        return self.exposed, self.positions, self.clicks, self.weights, self.eligible

    def take(self, index: Tensor) -> Feedback:
        """The slates at `index`."""
        exposed, positions, clicks, weights, eligible = (column[index] for column in self.columns())
        return Feedback(exposed, positions, clicks, weights, eligible, self.log_weights)

    def to(self, device: torch.device) -> Feedback:
        """The same on another device."""
        moved = None if self.log_weights is None else self.log_weights.to(device)
        exposed, positions, clicks, weights, eligible = (column.to(device) for column in self.columns())
        return Feedback(exposed, positions, clicks, weights, eligible, moved)


def inverse_propensity(propensity: NDArray[np.float32]) -> NDArray[np.float32]:
    """Omega of (6) from the probability that an intent stood where it was shown, same shape; capped."""
    return np.minimum(1.0 / np.maximum(propensity, 1e-9), MAX_INVERSE_PROPENSITY).astype(np.float32)


def list_loss(logits: Tensor, feedback: Feedback, across: Across = _alone) -> Tensor:
    """Equation (6): -sum w y log softmax(s) over eligible intents, divided by the batch's sum of w y.

    Normalised over the batch, because normalising per request cancels the weight of a single click. Requests without
    a click contribute nothing. An unexposed column adds `feedback.log_weights`, where it has them, instead of log 0.2.
    """
    each, weight = _list_parts(logits, feedback)
    return each.sum() / across(weight.sum()).clamp(min=1.0)


def _list_parts(logits: Tensor, feedback: Feedback) -> tuple[Tensor, Tensor]:
    """-w y log softmax(s) of every slot, and w y, both f32[B,K]."""
    index = feedback.exposed.clamp(min=0)
    is_seen = feedback.exposed >= 0
    chosen = torch.log_softmax(_competing(logits, feedback, index, is_seen), -1).gather(1, index)
    weight = feedback.weights * feedback.clicks * is_seen
    return -weight * chosen, weight


def _competing(logits: Tensor, feedback: Feedback, index: Tensor, is_seen: Tensor) -> Tensor:
    """Scores in the softmax of (6), f32[B,N]: an intent that was not shown counts for less, an ineligible one not."""
    exposed = _exposed(feedback, index, is_seen)
    unexposed = UNEXPOSED_LOG_WEIGHT if feedback.log_weights is None else feedback.log_weights
    scores = torch.where(exposed, logits, logits + unexposed)
    return scores.masked_fill(~(feedback.eligible | exposed), -1e9)


def _exposed(feedback: Feedback, index: Tensor, is_seen: Tensor) -> Tensor:
    """Where an intent was shown, bool[B,N]; absent slots, which point at intent 0, must not unset it."""
    counts = torch.zeros(feedback.eligible.shape, dtype=torch.int64, device=index.device)
    return counts.scatter_add(1, index, is_seen.long()) > 0


def click_loss(
    logits: Tensor,
    feedback: Feedback,
    position_bias: Tensor,
    idle_weight: float = 1.0,
    across: Across = _alone,
) -> Tensor:
    """Equation (7): cross-entropy of clicks on shown prompts, s + b_k, requests without a click included.

    `idle_weight` is how many requests without a click each of those here stands for, where only a sample was drawn.
    """
    each, weight = _click_parts(logits, feedback, position_bias, idle_weight)
    return each.sum() / across(weight.sum()).clamp(min=1.0)


def _click_parts(
    logits: Tensor, feedback: Feedback, position_bias: Tensor, idle_weight: float
) -> tuple[Tensor, Tensor]:
    """The weighted cross-entropy of every slot, and its weight, both f32[B,K]."""
    is_seen = feedback.exposed >= 0
    shown = logits.gather(1, feedback.exposed.clamp(min=0)) + position_bias[feedback.positions]
    each = functional.binary_cross_entropy_with_logits(shown, feedback.clicks, reduction="none")
    has_click = feedback.clicks.amax(1, keepdim=True) > 0
    weight = is_seen * torch.where(has_click, 1.0, idle_weight)
    return each * weight, weight


def anchor_loss(logits: Tensor, teacher: Tensor, eligible: Tensor, across: Across = _alone) -> Tensor:
    """KL(P_teacher || P_s) over eligible intents, mean of the batch: the anchor of (8)."""
    ours, theirs = (torch.log_softmax(scores.masked_fill(~eligible, -1e9), -1) for scores in (logits, teacher))
    requests = across(logits.new_tensor(float(len(logits))))
    return functional.kl_div(ours, theirs, reduction="sum", log_target=True) / requests.clamp(min=1.0)


def ranking_loss(
    logits: Tensor,
    feedback: Feedback,
    position_bias: Tensor,
    idle_weight: float = 1.0,
    across: Across = _alone,
) -> Tensor:
    """Equation (8) without its anchor; the norm penalty is the optimizer's weight decay."""
    clicks = click_loss(logits, feedback, position_bias, idle_weight, across)
    return list_loss(logits, feedback, across) + BCE_WEIGHT * clicks


def ranking_losses(logits: Tensor, feedback: Feedback, position_bias: Tensor) -> Tensor:
    """Each request's part of (8) without its anchor, f32[B]; they add up to `ranking_loss`."""
    parts = _list_parts(logits, feedback), _click_parts(logits, feedback, position_bias, 1.0)
    listed, clicked = (each.sum(1) / weight.sum().clamp(min=1.0) for each, weight in parts)
    return listed + BCE_WEIGHT * clicked
