"""Sampled negatives for large knowledge bases: which intents stand in the softmax of (6), and with what correction.

Up to `FULL_LIMIT` intents all of them do. Beyond, a batch sees those that were shown in it and `draws` others, half of
them by clicks ** 0.5, half by how hard they were lately. An intent drawn c times of m with probability p has the weight
0.2 c / (m p), so that the sampled softmax has the full one's denominator on average.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from training.losses import UNEXPOSED_LOG_WEIGHT, Feedback

FULL_LIMIT = 512
DRAWS = 50
_NEVER = -1e9


@dataclass(frozen=True)
class Negatives:
    """The probability f64[N] of each draw."""

    chance: Tensor

    @classmethod
    def of(cls, feedback: Feedback, hardness: Tensor) -> Negatives:
        """Half by clicks ** 0.5, half by `hardness` f32[N], e.g. the mean probability that the ranker gave lately.

        Intents without a click or hardness keep a chance of their own, so that no weight is infinite.
        """
        clicks = torch.zeros(feedback.eligible.shape[1], dtype=torch.float64)
        index = feedback.exposed.clamp(min=0).flatten()
        clicks.index_add_(0, index.cpu(), (feedback.clicks * (feedback.exposed >= 0)).flatten().double().cpu())
        frequent, hard = (clicks + 1.0).sqrt(), hardness.double().cpu().clamp(min=1e-6)
        return cls(0.5 * frequent / frequent.sum() + 0.5 * hard / hard.sum())

    def sampled(self, feedback: Feedback, generator: torch.Generator, draws: int = DRAWS) -> tuple[Tensor, Feedback]:
        """The columns i64[C] that a batch is scored against, and its feedback over them.

        An intent that was clicked or shown in a request is no sampled negative of it; elsewhere it is one as often as
        it was drawn.
        """
        drawn = torch.multinomial(self.chance, draws, replacement=True, generator=generator)
        times = torch.bincount(drawn, minlength=len(self.chance))
        shown = feedback.exposed[feedback.exposed >= 0].cpu()
        columns = torch.unique(torch.cat([shown, drawn]))
        expected = draws * self.chance[columns]
        weights = torch.where(times[columns] > 0, (times[columns] / expected).log() + UNEXPOSED_LOG_WEIGHT, _NEVER)
        place = torch.searchsorted(columns, feedback.exposed.clamp(min=0).cpu()).clamp(max=len(columns) - 1)
        device = feedback.exposed.device
        columns = columns.to(device)
        return columns, replace(
            feedback,
            exposed=torch.where(feedback.exposed >= 0, place.to(device), -1),
            eligible=feedback.eligible[:, columns],
            log_weights=weights.float().to(device),
        )
