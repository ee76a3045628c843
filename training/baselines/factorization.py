"""Arm 2: a factorization machine over the request's fields and the intent's id, family and text."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from training.autoint import Fields
from training.baselines.parts import Events, Sizes
from training.scoring import Features, Intents, Scorer


class FactorizationMachine(Scorer):
    """s = w_u + w_i + the sum over pairs of fields of <x, y>; pairs within a request or an intent count too."""

    def __init__(self, sizes: Sizes) -> None:
        super().__init__()
        self.fields = Fields(sizes.numeric, sizes.categories)
        width = self.fields.width
        self.events = Events(sizes.event_kinds, width)
        self.ids = nn.Embedding(sizes.intents + 1, width)
        self.family = nn.Embedding(sizes.families + 1, width)
        self.text = nn.Linear(sizes.text_width, width)
        for table in (self.ids, self.family):
            nn.init.normal_(table.weight, std=0.1)
        self.drop = nn.Dropout(sizes.dropout)
        self.of_request, self.of_intent = nn.Linear(width, 1), nn.Linear(width, 1)

    def forward(self, features: Features, intents: Intents) -> Tensor:
        """Logits f32[B,N]."""
        events = Events.mean(*self.events(features.event_kinds, features.event_ages)).unsqueeze(1)
        request = self.drop(torch.cat([self.fields(features.numeric, features.categorical), events], 1))
        id_index, text, _, family = intents
        intent = torch.stack([self.ids(id_index), self.family(family), self.text(text)], 1)
        ours = _pairs(request) + self.of_request(request.sum(1)).squeeze(-1)
        theirs = _pairs(intent) + self.of_intent(intent.sum(1)).squeeze(-1)
        return ours.unsqueeze(1) + theirs + request.sum(1) @ intent.sum(1).T  # type: ignore[no-any-return]


def _pairs(fields: Tensor) -> Tensor:
    """The sum over pairs of fields of their dot products:  (|sum x|^2 - sum |x|^2) / 2, f32[B]."""
    return 0.5 * (fields.sum(1).square() - fields.square().sum(1)).sum(-1)
