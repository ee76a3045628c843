"""The adapter: a residual head on the reasoner's states that starts as the identity, and its space."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Self

import numpy as np
from numpy.typing import NDArray

F32 = NDArray[np.float32]

_GELU_SCALE = np.float32(np.sqrt(2.0 / np.pi))
_GELU_CUBIC = np.float32(0.044715)


class AdapterMismatch(ValueError):
    """Adapter weights, or states given to them, whose shapes do not fit together."""


@dataclass(frozen=True, slots=True, eq=False)
class Adapter:
    """z = (h - mean) + gelu((h - mean) w1 + b1) w2: our specification of the adapted latent query (algorithm.md 2.5).

    Shapes: mean [H], w1 [H, R], b1 [R], w2 [R, H], all float32. With w2 = 0 it only subtracts the mean.
    """

    mean: F32
    w1: F32
    b1: F32
    w2: F32

    def __post_init__(self) -> None:
        width, rank = self.w1.shape
        found = {field.name: getattr(self, field.name).shape for field in fields(self)}
        expected = {"mean": (width,), "w1": (width, rank), "b1": (rank,), "w2": (rank, width)}
        if found != expected:
            raise AdapterMismatch(f"adapter weights have shapes {found}, expected {expected}: build the bundle again")

    @classmethod
    def identity(cls, mean: F32, rank: int = 64, seed: int = 0) -> Self:
        """An adapter that only subtracts `mean` [H]; w1 is a seeded small draw, so that training can leave zero."""
        width = mean.shape[0]
        w1 = np.random.default_rng(seed).standard_normal((width, rank)).astype(np.float32) / np.float32(np.sqrt(width))
        zero = np.zeros((rank, width), dtype=np.float32)
        return cls(mean.astype(np.float32), w1, np.zeros(rank, dtype=np.float32), zero)

    @property
    def width(self) -> int:
        """H, the reasoner's width."""
        return int(self.w1.shape[0])

    @property
    def adapter_id(self) -> str:
        """The sha256 of the weights and the mean, in hex."""
        digest = hashlib.sha256(b"rgalign adapter 1: residual, gelu tanh\n")
        for field in fields(self):
            weights = np.ascontiguousarray(getattr(self, field.name), dtype="<f4")
            digest.update(f"{field.name}{weights.shape}\n".encode() + weights.tobytes())
        return digest.hexdigest()

    def apply(self, states: F32) -> F32:
        """Base states f32[B, H] -> vectors f32[B, H] of the adapter's space; another width raises `AdapterMismatch`."""
        if states.ndim != 2 or states.shape[1] != self.width:
            raise AdapterMismatch(
                f"states have shape {states.shape}, expected [B, {self.width}]: another reasoner made them"
            )
        centred = np.asarray(states - self.mean, dtype=np.float32)
        hidden = gelu(np.asarray(centred @ self.w1 + self.b1, dtype=np.float32))
        return np.asarray(centred + hidden @ self.w2, dtype=np.float32)

    def save(self, path: Path) -> None:
        """Writes the weights as safetensors."""
        from safetensors.numpy import save_file  # noqa: PLC0415

        save_file({field.name: np.ascontiguousarray(getattr(self, field.name)) for field in fields(self)}, path)

    @classmethod
    def load(cls, path: Path) -> Self:
        """The adapter that `save` wrote. Raises `AdapterMismatch` when a tensor is missing or does not fit."""
        return cls.from_bytes(path.read_bytes())

    @classmethod
    def from_bytes(cls, raw: bytes) -> Self:
        """The adapter in the bytes of a safetensors file. Raises `AdapterMismatch`."""
        from safetensors.numpy import load  # noqa: PLC0415

        tensors = load(raw)
        names = [field.name for field in fields(cls)]
        if sorted(tensors) != sorted(names):
            raise AdapterMismatch(f"the adapter holds {sorted(tensors)}, expected {names}: build the bundle again")
        return cls(**{name: tensors[name].astype(np.float32) for name in names})


def gelu(x: F32) -> F32:
    """GELU as torch's `gelu(x, approximate="tanh")`:  x/2 (1 + tanh(sqrt(2/pi) (x + 0.044715 x^3)))."""
    return np.asarray(
        np.float32(0.5) * x * (1 + np.tanh(_GELU_SCALE * (x + _GELU_CUBIC * x * x * x))), dtype=np.float32
    )


def space_id(base_id: str, adapter_id: str) -> str:
    """The space of adapted vectors (algorithm.md 2.8): only vectors of one space may meet a ranker.

    >>> space_id("a", "b") == space_id("a", "b") != space_id("b", "a")
    True
    """
    return hashlib.sha256(f"rgalign space 1\n{base_id}\n{adapter_id}\n".encode()).hexdigest()
