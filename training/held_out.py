"""What requests that nothing was learned from say of a ranker."""

from __future__ import annotations

import torch
from torch import Tensor

from training.examples import Examples
from training.losses import Feedback, click_loss, list_loss, ranking_loss
from training.scoring import Scorer


def scores(model: Scorer, examples: Examples, index: Tensor) -> Tensor:
    """Logits f32[len(index), N] without dropout, in bounded memory."""
    model.eval()
    with torch.no_grad():
        chunks = [model(examples.features.take(chunk), examples.intents) for chunk in torch.split(index, 64)]
    return torch.cat(chunks)


def evaluate(model: Scorer, examples: Examples, index: Tensor) -> dict[str, float]:
    """Losses (6), (7) and (8) and recall@3 of the requests at `index`, without dropout."""
    logits = scores(model, examples, index)
    feedback, bias = examples.feedback.take(index), model.position_bias.detach()
    return {
        "loss": float(ranking_loss(logits, feedback, bias)),
        "list_loss": float(list_loss(logits, feedback)),
        "click_loss": float(click_loss(logits, feedback, bias)),
        "recall_at_3": recall(logits, feedback, 3),
    }


def recall(logits: Tensor, feedback: Feedback, k: int) -> float:
    """The share of clicks whose intent is among the k best eligible ones; 0 without clicks."""
    best = logits.masked_fill(~feedback.eligible, float("-inf")).topk(min(k, logits.shape[1])).indices
    hit = (feedback.exposed.unsqueeze(-1) == best.unsqueeze(1)).any(-1)
    clicks = feedback.clicks * (feedback.exposed >= 0)
    return float((hit * clicks).sum() / clicks.sum().clamp(min=1.0))
