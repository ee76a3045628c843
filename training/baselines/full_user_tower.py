"""QE-Rec with the user tower of equation (2) in full: AutoInt over fields, a two-layer Transformer over events.

The served tower is smaller: fields side by side and events pooled by attention. This arm says what that costs.
"""

from __future__ import annotations

from typing import cast

import torch
from torch import Tensor, nn

from features.schema import CATEGORICAL, NUMERIC
from training.autoint import AutoInt, Fields
from training.baselines.neural import qerec
from training.qerec import QERec
from training.scoring import Scorer
from training.trial import Trial


class FullUserTower(nn.Module):
    """Equation (2): fields through AutoInt, events through a masked Transformer whose first token sums them up."""

    def __init__(self, event_kinds: int, width: int, dropout: float, inner: int = 32) -> None:
        super().__init__()
        self.fields = Fields(len(NUMERIC), tuple(CATEGORICAL.values()))
        self.interact = AutoInt(self.fields.width)
        self.kinds, self.age = nn.Embedding(event_kinds, inner), nn.Linear(1, inner)
        self.first = nn.Parameter(0.02 * torch.randn(1, 1, inner))
        layer = nn.TransformerEncoderLayer(inner, 4, 2 * inner, dropout, "gelu", batch_first=True, norm_first=True)
        self.events = nn.TransformerEncoder(layer, 2, enable_nested_tensor=False)
        joined = 2 * self.fields.count * self.fields.width + inner
        self.mix = nn.Sequential(
            nn.Linear(joined, 2 * width), nn.GELU(), nn.Dropout(dropout), nn.Linear(2 * width, width)
        )

    def forward(self, numeric: Tensor, categorical: Tensor, event_kinds: Tensor, event_ages: Tensor) -> Tensor:
        """U f32[B,d]."""
        fields = self.fields(numeric, categorical)
        events = self.kinds(event_kinds) + self.age(event_ages.unsqueeze(-1))
        tokens = torch.cat([self.first.expand(len(events), -1, -1), events], 1)
        is_padding = torch.cat([torch.zeros_like(event_kinds[:, :1]), event_kinds == 0], 1).bool()
        summed = self.events(tokens, src_key_padding_mask=is_padding)[:, 0]
        parts = [fields.flatten(1), self.interact(fields).flatten(1), summed]
        return cast("Tensor", self.mix(torch.cat(parts, -1)))


def full_qerec(trial: Trial, seed: int, dropout: float) -> Scorer:
    """Arm 8 with the full tower in place of the served one."""
    model = cast("QERec", qerec(trial, seed, dropout))
    shape = model.shape
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        tower = FullUserTower(shape.event_kinds, shape.width, dropout)
    tower.fields.settle(torch.from_numpy(trial.dataset.encoded.numeric))
    model.head.user = tower  # type: ignore[assignment]
    return model
