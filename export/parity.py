"""Golden requests: seeded inputs with the scores that the reference backend gave, carried in the bundle."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from safetensors.numpy import load, save

from features.schema import CATEGORICAL, NUMERIC, SEQUENCE_LENGTH, Encoded

TOLERANCE = 1e-4
"""The most that a backend's logits may differ from the reference's: absolute below 1, relative above."""
REQUESTS = 8


@dataclass(frozen=True)
class Golden:
    """REQUESTS made-up requests (no shopper's data), half of them without a query, and their reference logits."""

    encoded: Encoded
    query: NDArray[np.float32]
    has_query: NDArray[np.bool_]
    logits: NDArray[np.float32]

    def difference(self, logits: NDArray[np.float32]) -> float:
        """Max of |logits - reference| / max(1, |reference|); infinite when shapes differ or a logit is not finite."""
        if logits.shape != self.logits.shape or not np.isfinite(logits).all():
            return float("inf")
        return float((np.abs(logits - self.logits) / np.maximum(1.0, np.abs(self.logits))).max(initial=0.0))

    def to_bytes(self) -> bytes:
        """As safetensors."""
        tensors = {name: getattr(self.encoded, name) for name in _ENCODED}
        tensors |= {"query": self.query, "has_query": self.has_query, "logits": self.logits}
        return bytes(save({name: np.ascontiguousarray(tensor) for name, tensor in tensors.items()}))

    @classmethod
    def from_bytes(cls, raw: bytes) -> Golden:
        """What `to_bytes` wrote. Raises ValueError or KeyError when it is something else."""
        tensors: Mapping[str, NDArray[np.generic]] = load(raw)
        encoded = Encoded(**{name: tensors[name] for name in _ENCODED})  # type: ignore[arg-type]
        rest = {name: tensors[name] for name in ("query", "has_query", "logits")}
        return cls(encoded, **rest)  # type: ignore[arg-type]


_ENCODED = ("numeric", "categorical", "event_kinds", "event_ages")


def requests(
    query_width: int, seed: int = 0, rows: int = REQUESTS
) -> tuple[Encoded, NDArray[np.float32], NDArray[np.bool_]]:
    """Seeded requests over the whole range of the schema: (encoded, query f32[B,H], has_query bool[B])."""
    rng = np.random.default_rng(seed)
    length = rng.integers(0, SEQUENCE_LENGTH + 1, rows)
    seen = np.arange(SEQUENCE_LENGTH) < length[:, None]
    encoded = Encoded(
        numeric=rng.random((rows, len(NUMERIC)), np.float32),
        categorical=np.stack([rng.integers(0, size, rows) for size in CATEGORICAL.values()], 1),
        event_kinds=np.where(seen, rng.integers(1, CATEGORICAL["trigger_kind"], seen.shape), 0),
        event_ages=np.where(seen, rng.random(seen.shape, np.float32), np.float32(0.0)),
    )
    has_query = np.arange(rows) % 2 == 0
    query = rng.standard_normal((rows, query_width), np.float32)
    return encoded, np.where(has_query[:, None], query, np.float32(0.0)), has_query
