"""Requests with their feedback as tensors: what a ranker is trained on."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from training.losses import Feedback
from training.resumption import digest
from training.scoring import Features, Intents


@dataclass(frozen=True)
class Examples:
    """Requests in order of event time with their feedback, and the intents they chose among."""

    features: Features
    feedback: Feedback
    intents: Intents
    teacher: Tensor | None = None
    """The previous ranker's logits f32[B,N] of the same requests, where there is one: the anchor of (8)."""

    def __len__(self) -> int:
        return len(self.feedback.exposed)

    def to(self, device: torch.device) -> Examples:
        """The same on another device."""
        intents = tuple(part.to(device) for part in self.intents)
        teacher = None if self.teacher is None else self.teacher.to(device)
        return Examples(self.features.to(device), self.feedback.to(device), intents, teacher)  # type: ignore[arg-type]

    def digest(self, *told: object) -> str:
        """Names these examples and whatever else is told."""
        rest = () if self.teacher is None else (self.teacher,)
        return digest((*self.features.tensors(), *self.feedback.columns(), *self.intents, *rest), *told)
