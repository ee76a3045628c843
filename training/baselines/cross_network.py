"""Arm 5: DCN-V2 (arXiv 2008.13535), low-rank cross layers over request and intent beside a deep network."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from training.autoint import Fields
from training.baselines.parts import Events, IntentSide, Sizes
from training.scoring import Features, Intents, Scorer


class CrossNetwork(Scorer):
    """x_{l+1} = x_0 * (U V' x_l + b) + x_l over x_0 = [request; v_i], then one linear layer over [cross; deep]."""

    def __init__(self, sizes: Sizes, layers: int = 2, rank: int = 16) -> None:
        super().__init__()
        self.fields = Fields(sizes.numeric, sizes.categories)
        self.events = Events(sizes.event_kinds, sizes.width)
        self.drop = nn.Dropout(sizes.dropout)
        self.request = nn.Linear(self.fields.count * self.fields.width + sizes.width, sizes.width)
        self.intent = IntentSide(sizes)
        inner = 2 * sizes.width
        self.down = nn.ModuleList(nn.Linear(inner, rank, bias=False) for _ in range(layers))
        self.up = nn.ModuleList(nn.Linear(rank, inner) for _ in range(layers))
        self.deep = nn.Sequential(nn.Linear(inner, sizes.width), nn.GELU())
        self.score = nn.Linear(inner + sizes.width, 1)

    def forward(self, features: Features, intents: Intents) -> Tensor:
        """Logits f32[B,N]."""
        fields = self.fields(features.numeric, features.categorical).flatten(1)
        events = Events.mean(*self.events(features.event_kinds, features.event_ages))
        u, v = self.request(self.drop(torch.cat([fields, events], -1))), self.intent(intents)
        pairs = (len(u), len(v), -1)
        start = torch.cat([u.unsqueeze(1).expand(pairs), v.unsqueeze(0).expand(pairs)], -1)
        crossed = start
        for down, up in zip(self.down, self.up, strict=True):
            crossed = start * up(down(crossed)) + crossed
        scores: Tensor = self.score(torch.cat([crossed, self.deep(start)], -1))
        return scores.squeeze(-1)
