"""What the neural baselines are made of beside their one idea: pooled events, and an intent's id, family and text."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from training.scoring import Intents


@dataclass(frozen=True)
class Sizes:
    """What fixes the sizes of a neural baseline."""

    numeric: int
    categories: Sequence[int]
    event_kinds: int
    text_width: int
    intents: int
    families: int
    width: int = 64
    dropout: float = 0.2
    id_drop_share: float = 0.3


class Events(nn.Module):
    """The last events as vectors f32[B,T,d], and their mean."""

    def __init__(self, kinds: int, width: int) -> None:
        super().__init__()
        self.kinds = nn.Embedding(kinds, width)
        self.age = nn.Linear(1, width)

    def forward(self, kinds: Tensor, ages: Tensor) -> tuple[Tensor, Tensor]:
        """(events f32[B,T,d], which are there f32[B,T])."""
        return functional.gelu(self.kinds(kinds) + self.age(ages.unsqueeze(-1))), (kinds > 0).to(ages.dtype)

    @staticmethod
    def mean(events: Tensor, seen: Tensor) -> Tensor:
        """The mean of the events that are there, f32[B,d]."""
        return (events * seen.unsqueeze(-1)).sum(1) / seen.sum(1, keepdim=True).clamp(min=1.0)


class IntentSide(nn.Module):
    """Id, family and frozen text -> v f32[N,d]; ids are dropped in training as QE-Rec does it, for cold intents."""

    def __init__(self, sizes: Sizes) -> None:
        super().__init__()
        self.id_drop_share = sizes.id_drop_share
        self.ids = nn.Embedding(sizes.intents + 1, 16)
        self.family = nn.Embedding(sizes.families + 1, 16)
        self.text = nn.Linear(sizes.text_width, sizes.width)
        self.mix = nn.Sequential(
            nn.Linear(32 + sizes.width, 2 * sizes.width), nn.GELU(), nn.Linear(2 * sizes.width, sizes.width)
        )

    def forward(self, intents: Intents) -> Tensor:
        """V f32[N,d]."""
        id_index, text, _, family = intents
        if self.training:
            id_index = id_index * (torch.rand(id_index.shape, device=id_index.device) >= self.id_drop_share)
        mixed: Tensor = self.mix(torch.cat([self.ids(id_index), self.family(family), self.text(text)], -1))
        return mixed


class Mixture(nn.Module):
    """A mixture of experts: softly gated small networks, f32[.., inner] -> f32[.., outer]."""

    def __init__(self, inner: int, outer: int, experts: int = 4) -> None:
        super().__init__()
        self.gate = nn.Linear(inner, experts)
        self.experts = nn.ModuleList(
            nn.Sequential(nn.Linear(inner, outer), nn.GELU(), nn.Linear(outer, outer)) for _ in range(experts)
        )

    def forward(self, x: Tensor) -> Tensor:
        """The experts' answers, weighted by the gate."""
        weights = torch.softmax(self.gate(x), -1)
        answers = torch.stack([expert(x) for expert in self.experts], -1)
        return (answers @ weights.unsqueeze(-1)).squeeze(-1)
