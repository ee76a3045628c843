"""AutoInt: fields that attend to each other, with residuals (arXiv 1810.11921), from memory; our sizes."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional


class Fields(nn.Module):
    """Categories and numbers as one vector a field: f32[B, Fc + groups, width].

    A category has a row of its own. The numbers, scaled to mean 0 and deviation 1 by `settle`, are mixed into `groups`
    fields, so that many counts of a few events do not outnumber everything else.
    """

    offsets: Tensor
    numeric_mean: Tensor
    numeric_scale: Tensor

    def __init__(self, numeric: int, categories: Sequence[int], width: int = 16, groups: int = 8) -> None:
        super().__init__()
        self.register_buffer("offsets", torch.cumsum(torch.tensor((0, *categories[:-1])), 0))
        self.register_buffer("numeric_mean", torch.zeros(numeric))
        self.register_buffer("numeric_scale", torch.ones(numeric))
        self.count, self.width, self.groups = len(categories) + groups, width, groups
        self.rows = nn.Embedding(sum(categories), width)
        nn.init.normal_(self.rows.weight, std=0.1)
        self.numbers = nn.Linear(numeric, groups * width)

    def settle(self, numeric: Tensor) -> None:
        """Takes mean and deviation of every number from f32[B, Fn]."""
        self.numeric_mean.copy_(numeric.mean(0))
        self.numeric_scale.copy_(1.0 / numeric.std(0, correction=0).clamp(min=0.05))

    def forward(self, numeric: Tensor, categorical: Tensor) -> Tensor:
        """One vector a field, f32[B, count, width]."""
        scaled = ((numeric - self.numeric_mean) * self.numeric_scale).clamp(-5.0, 5.0)
        numbers = self.numbers(scaled).view(len(numeric), self.groups, self.width)
        return torch.cat([self.rows(categorical + self.offsets), numbers], 1)


class AutoInt(nn.Module):
    """Layers of interacting attention over f32[B, F, width] -> f32[B, F, width]: relu(attended + W x)."""

    def __init__(self, width: int = 16, heads: int = 2, layers: int = 2) -> None:
        super().__init__()
        self.heads = heads
        self.qkv = nn.ModuleList(nn.Linear(width, 3 * width, bias=False) for _ in range(layers))
        self.residual = nn.ModuleList(nn.Linear(width, width) for _ in range(layers))

    def forward(self, fields: Tensor) -> Tensor:
        """The fields after they have seen each other."""
        for qkv, residual in zip(self.qkv, self.residual, strict=True):
            fields = functional.relu(self._attended(qkv(fields)) + residual(fields))
        return fields

    def _attended(self, qkv: Tensor) -> Tensor:
        rows, count, _ = qkv.shape
        parts = qkv.view(rows, count, 3, self.heads, -1).permute(2, 0, 3, 1, 4)
        attended = functional.scaled_dot_product_attention(parts[0], parts[1], parts[2])
        return attended.transpose(1, 2).reshape(rows, count, -1)
