"""Arm 6: DIN (arXiv 1706.06978), where each intent attends to the events that matter to it."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from training.autoint import Fields
from training.baselines.parts import Events, IntentSide, Sizes
from training.scoring import Features, Intents, Scorer


class InterestNetwork(Scorer):
    """The activation unit of DIN on [event; event * v_i; v_i], weights not normalised, then a network on the pair."""

    def __init__(self, sizes: Sizes, hidden: int = 16) -> None:
        super().__init__()
        self.fields = Fields(sizes.numeric, sizes.categories)
        self.events = Events(sizes.event_kinds, hidden)
        self.drop = nn.Dropout(sizes.dropout)
        self.request = nn.Linear(self.fields.count * self.fields.width, sizes.width)
        self.intent = IntentSide(sizes)
        self.narrow = nn.Linear(sizes.width, hidden)
        self.of_event, self.of_product = nn.Linear(hidden, hidden), nn.Linear(hidden, hidden, bias=False)
        self.of_intent = nn.Linear(hidden, hidden, bias=False)
        self.activation = nn.Linear(hidden, 1)
        self.deep = nn.Linear(3 * sizes.width + hidden, sizes.width)
        self.score = nn.Linear(sizes.width, 1)

    def forward(self, features: Features, intents: Intents) -> Tensor:
        """Logits f32[B,N]."""
        u = self.request(self.drop(self.fields(features.numeric, features.categorical).flatten(1)))
        v = self.intent(intents)
        wanted = self._interest(features, self.narrow(v))
        scores: Tensor = self.score(functional.gelu(self._pairs(u, v, wanted)))
        return scores.squeeze(-1)

    def _pairs(self, u: Tensor, v: Tensor, wanted: Tensor) -> Tensor:
        """The layer over [u; v_i; u * v_i; wanted], f32[B,N,d]: what is linear in one side is not done pair by pair."""
        width = u.shape[1]
        to_u, to_v, to_both, to_wanted = torch.split(self.deep.weight, [width, width, width, wanted.shape[-1]], 1)
        crossed = v @ (u.unsqueeze(1) * to_both).transpose(1, 2)
        layer: Tensor = crossed + wanted @ to_wanted.T + (u @ to_u.T + self.deep.bias).unsqueeze(1) + v @ to_v.T
        return layer

    def _interest(self, features: Features, v: Tensor) -> Tensor:
        """What each intent finds among the events, f32[B,N,hidden]: given an intent, the unit is linear in an event."""
        events, seen = self.events(features.event_kinds, features.event_ages)
        weight = v.unsqueeze(1) * self.of_product.weight + self.of_event.weight
        bias = self.of_intent(v) + self.of_event.bias
        hidden = torch.relu(functional.linear(events, weight.flatten(0, 1), bias.flatten()))
        weights = self.activation(hidden.view(*seen.shape, *bias.shape)).squeeze(-1) * seen.unsqueeze(-1)
        wanted: Tensor = weights.transpose(1, 2) @ events
        return wanted
