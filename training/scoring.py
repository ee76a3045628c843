"""What every trained ranker takes and gives: requests as tensors, intents as tensors, logits of all pairs."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

Intents = tuple[Tensor, Tensor, Tensor, Tensor]
"""id_index i64[N] (0 = unknown), text f32[N,E], raw state f32[N,H], family i64[N] (0 = unknown)."""


@dataclass(frozen=True)
class Features:
    """One batch of requests as tensors: what `features.schema.encode` gives, and the latent queries.

    numeric f32[B,Fn], categorical i64[B,Fc], event_kinds i64[B,T] (0 = padding), event_ages f32[B,T],
    query f32[B,H] (adapted vectors z; any finite value where has_query is 0), has_query f32[B].
    """

    numeric: Tensor
    categorical: Tensor
    event_kinds: Tensor
    event_ages: Tensor
    query: Tensor
    has_query: Tensor

    def tensors(self) -> tuple[Tensor, ...]:
        """The six tensors, in the order of the exported graph's inputs."""
        return (self.numeric, self.categorical, self.event_kinds, self.event_ages, self.query, self.has_query)

    def take(self, index: Tensor) -> Features:
        """The requests at `index`."""
        return Features(*(tensor[index] for tensor in self.tensors()))

    def to(self, device: torch.device) -> Features:
        """The same on another device."""
        return Features(*(tensor.to(device) for tensor in self.tensors()))


class Scorer(nn.Module):
    """A ranker as `trainer.fit` trains it: QE-Rec and the neural baselines are one.

    `position_bias` f32[positions + 1] is b_k of (7), which training alone sees.
    """

    def __init__(self, positions: int = 20) -> None:
        super().__init__()
        self.position_bias = nn.Parameter(torch.zeros(positions + 1))

    def slow_weights(self) -> list[Tensor]:
        """The weights that learn at `trainer.SLOW` of the rate."""
        return []

    def trust(self) -> Tensor | None:
        """How much of the latent queries counts, f32[] that `query_trust.prove` sets; None without queries."""
        return None

    def forward(self, features: Features, intents: Intents) -> Tensor:
        """Logits f32[B,N] of every request against every intent."""
        raise NotImplementedError
