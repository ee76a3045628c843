"""Arm 6: DIN (arXiv 1706.06978), where each intent attends to the events that matter to it."""

from __future__ import annotations

import torch
from torch import Tensor, nn

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
        self.deep = nn.Sequential(nn.Linear(3 * sizes.width + hidden, sizes.width), nn.GELU())
        self.score = nn.Linear(sizes.width, 1)

    def forward(self, features: Features, intents: Intents) -> Tensor:
        """Logits f32[B,N]."""
        u = self.request(self.drop(self.fields(features.numeric, features.categorical).flatten(1)))
        v = self.intent(intents)
        wanted = self._interest(features, self.narrow(v))
        pairs = (len(u), len(v), -1)
        ours, theirs = u.unsqueeze(1).expand(pairs), v.unsqueeze(0).expand(pairs)
        scores: Tensor = self.score(self.deep(torch.cat([ours, theirs, ours * theirs, wanted], -1)))
        return scores.squeeze(-1)

    def _interest(self, features: Features, v: Tensor) -> Tensor:
        """What each intent finds among the events, f32[B,N,hidden]."""
        events, seen = self.events(features.event_kinds, features.event_ages)
        product = torch.einsum("bth,nh,kh->bntk", events, v, self.of_product.weight)
        hidden = torch.relu(self.of_event(events).unsqueeze(1) + self.of_intent(v).view(1, len(v), 1, -1) + product)
        weights = self.activation(hidden).squeeze(-1) * seen.unsqueeze(1)
        return weights @ events  # type: ignore[no-any-return]
