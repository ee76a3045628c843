"""The user tower: fields and the last events of a shopper -> u, equation (2) of the design."""

from __future__ import annotations

from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional

from training.qerec_shape import QERecShape


class UserTower(nn.Module):
    """Equation (2): fields and the last events -> u [B, d]; events are pooled by masked attention."""

    offsets: Tensor
    numeric_mean: Tensor
    numeric_scale: Tensor

    def __init__(self, shape: QERecShape) -> None:
        super().__init__()
        sizes = torch.tensor((0, *shape.categories[:-1]))
        self.register_buffer("offsets", torch.cumsum(sizes, 0) if shape.categories else sizes[:0])
        self.register_buffer("numeric_mean", torch.zeros(shape.numeric))
        self.register_buffer("numeric_scale", torch.ones(shape.numeric))
        self.fields = nn.Embedding(max(1, sum(shape.categories)), 16)
        self.kinds = nn.Embedding(shape.event_kinds, shape.width)
        self.age = nn.Linear(1, shape.width)
        self.attention = nn.Linear(shape.width, 1)
        joined = shape.numeric + 16 * len(shape.categories) + shape.width
        self.mix = nn.Sequential(
            nn.Linear(joined, 2 * shape.width),
            nn.GELU(),
            nn.Dropout(shape.dropout),
            nn.Linear(2 * shape.width, shape.width),
        )

    def forward(self, numeric: Tensor, categorical: Tensor, event_kinds: Tensor, event_ages: Tensor) -> Tensor:
        """U f32[B,d]."""
        scaled = ((numeric - self.numeric_mean) * self.numeric_scale).clamp(-5.0, 5.0)
        fields = self.fields(categorical + self.offsets).flatten(1)
        return cast("Tensor", self.mix(torch.cat([scaled, fields, self._events(event_kinds, event_ages)], -1)))

    def _events(self, kinds: Tensor, ages: Tensor) -> Tensor:
        seen = (kinds > 0).to(ages.dtype)
        events = functional.gelu(self.kinds(kinds) + self.age(ages.unsqueeze(-1)))
        weight = torch.exp(self.attention(events).squeeze(-1).clamp(-8.0, 8.0)) * seen
        weight = weight / (weight.sum(-1, keepdim=True) + 1e-6)
        return (weight.unsqueeze(-1) * events).sum(1)
