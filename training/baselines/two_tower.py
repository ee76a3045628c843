"""Arm 4, the paper's reference: two towers that meet only in a dot product, AutoInt and a mixture of experts each."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from training.autoint import AutoInt, Fields
from training.baselines.parts import Events, IntentSide, Mixture, Sizes
from training.scoring import Features, Intents, Scorer


class TwoTower(Scorer):
    """s = u v / sqrt(d) + b_i. It sees what QE-Rec sees but for the latent query."""

    def __init__(self, sizes: Sizes) -> None:
        super().__init__()
        self.fields = Fields(sizes.numeric, sizes.categories)
        self.interact = AutoInt(self.fields.width)
        self.events = Events(sizes.event_kinds, sizes.width)
        self.drop = nn.Dropout(sizes.dropout)
        self.user = Mixture(self.fields.count * self.fields.width + sizes.width, sizes.width)
        self.intent = IntentSide(sizes)
        self.intent_mixture = Mixture(sizes.width, sizes.width)
        self.bias = nn.Linear(sizes.width, 1)

    def forward(self, features: Features, intents: Intents) -> Tensor:
        """Logits f32[B,N]."""
        fields = self.interact(self.fields(features.numeric, features.categorical)).flatten(1)
        events = Events.mean(*self.events(features.event_kinds, features.event_ages))
        u = self.user(self.drop(torch.cat([fields, events], -1)))
        v = self.intent_mixture(self.intent(intents))
        return u @ v.T / math.sqrt(v.shape[1]) + self.bias(v).T  # type: ignore[no-any-return]
