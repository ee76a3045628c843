"""What every arm of a comparison is given: the same requests, queries and intents, and nothing else."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
import torch
from numpy.typing import NDArray

from training.checkpoint import tensors
from training.dataset import Dataset
from training.examples import Examples
from training.losses import Feedback, inverse_propensity
from training.scoring import Intents

F32 = NDArray[np.float32]
Bools = NDArray[np.bool_]


@dataclass(frozen=True, eq=False)
class Trial:
    """B requests in order of event time over N intents.

    query f32[B,H] where has_query bool[B], in the space of the intents' `state` f32[N,H]; `text` f32[N,E] their frozen
    text vectors, `families` their families. Where `known` bool[N] is False an intent is cold: it has no id.
    """

    dataset: Dataset
    query: F32
    has_query: Bools
    text: F32
    state: F32
    families: tuple[str, ...]
    known: Bools

    def __len__(self) -> int:
        return len(self.dataset)

    def take(self, index: NDArray[np.int64]) -> Trial:
        """The requests at `index`, in that order."""
        return replace(self, dataset=self.dataset.take(index), query=self.query[index], has_query=self.has_query[index])

    @cached_property
    def family_index(self) -> NDArray[np.int64]:
        """Each intent's family by number from 1, i64[N]."""
        number = {family: place for place, family in enumerate(sorted(set(self.families)), start=1)}
        return np.array([number[family] for family in self.families])

    @cached_property
    def intents(self) -> Intents:
        """What an intent tower takes; cold intents have the index 0."""
        index = np.where(self.known, np.arange(1, len(self.known) + 1), 0)
        parts = (index, self.text, self.state, self.family_index)
        id_index, text, state, family = (torch.from_numpy(np.ascontiguousarray(part)) for part in parts)
        return id_index, text, state, family

    @cached_property
    def examples(self) -> Examples:
        """The requests as `trainer.fit` takes them, clicks weighted by inverse propensity."""
        d = self.dataset
        columns = (d.exposed, d.positions, d.clicks, inverse_propensity(d.propensity), d.eligible)
        exposed, positions, clicks, weights, eligible = (torch.from_numpy(np.ascontiguousarray(c)) for c in columns)
        return Examples(
            features=tensors(d.encoded, self.query, self.has_query),
            feedback=Feedback(exposed, positions, clicks, weights, eligible),
            intents=self.intents,
        )

    @cached_property
    def centred_state(self) -> F32:
        """The intents' states with their mean taken off, as unit vectors f32[N,H]."""
        return _unit(self.state - self.state.mean(axis=0))

    def cosine(self) -> F32:
        """The zero-shot centred cosine of query and intent, f32[B,N]; 0 without a query."""
        query = np.where(self.has_query[:, None], self.query, np.float32(0.0))
        return np.asarray(_unit(query) @ self.centred_state.T, np.float32)

    def without(self, cold: Bools) -> Trial:
        """The same log as if these intents bool[N] did not exist yet: never shown, never clicked, not eligible."""
        d = self.dataset
        is_cold = cold[d.exposed.clip(0)] & d.seen
        gone = {
            "exposed": np.where(is_cold, -1, d.exposed),
            "positions": np.where(is_cold, 0, d.positions),
            "clicks": np.where(is_cold, np.float32(0.0), d.clicks),
            "propensity": np.where(is_cold, np.float32(1.0), d.propensity),
        }
        dataset = replace(d, **gone, eligible=d.eligible & ~cold)  # type: ignore[arg-type]
        kept = np.flatnonzero(dataset.seen.any(axis=1))
        return replace(self, dataset=dataset, known=self.known & ~cold).take(kept)


def _unit(x: F32) -> F32:
    return np.asarray(x / np.maximum(np.linalg.norm(x, axis=1, keepdims=True), 1e-9), np.float32)
