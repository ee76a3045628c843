"""The engines of the reasoner's race: ours by backend and arithmetic, and sentence-transformers at the same."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np

from features.reasoner_settings import ReasonerSettings
from tests.benchmarks.embedding_script import Encode

ALL = 0
"""As a batch size: all texts at once, however the engine then cuts them."""


@dataclass(frozen=True, slots=True)
class Way:
    """An engine at work. `peer` is the way at equal arithmetic that it is told against."""

    engine: Literal["ours", "sentence_transformers"]
    backend: Literal["torch", "onnx"]
    dtype: Literal["fp32", "bf16", "int8"]
    device: Literal["cpu", "cuda"]
    peer: str | None = None

    def told(self, folder: Path, readable: Path) -> dict[str, str]:
        """What its process is told; `readable` is the folder as sentence-transformers reads it."""
        if self.engine == "sentence_transformers":
            dtype = {"fp32": "float32", "bf16": "bfloat16"}[self.dtype]
            return {"engine": self.engine, "folder": str(readable), "dtype": dtype, "device": self.device}
        ours = {"backend": self.backend, "dtype": self.dtype, "device": self.device}
        return {"engine": self.engine, "folder": str(folder), **ours}


CPU: dict[str, Way] = {
    "st_fp32": Way("sentence_transformers", "torch", "fp32", "cpu"),
    "st_bf16": Way("sentence_transformers", "torch", "bf16", "cpu"),
    "torch_fp32": Way("ours", "torch", "fp32", "cpu", "st_fp32"),
    "torch_bf16": Way("ours", "torch", "bf16", "cpu", "st_bf16"),
    "onnx_fp32": Way("ours", "onnx", "fp32", "cpu", "st_fp32"),
    "onnx_int8": Way("ours", "onnx", "int8", "cpu"),
}
CUDA: dict[str, Way] = {
    "st_cuda": Way("sentence_transformers", "torch", "bf16", "cuda"),
    "torch_cuda": Way("ours", "torch", "bf16", "cuda", "st_cuda"),
}


def opened(folder: str, **asked: Any) -> tuple[Encode, str]:
    """Our reasoner over the folder in mode P: encode(texts, batch) gives it so many texts a call; and its provider.

    No parity record is asked for: equality with the peer is asserted by the bench itself.
    """
    from features.reasoner import opened_unproved
    from features.reasoner_plan import planned

    settings = ReasonerSettings(mode="P", threads=1, **asked)
    reasoner = opened_unproved(Path(folder), planned(Path(folder), settings), settings)

    def encode(texts: Sequence[str], batch: int) -> Any:
        size = batch or len(texts)
        return np.concatenate([reasoner.embed(texts[at : at + size]) for at in range(0, len(texts), size)])

    return encode, str(reasoner.provider)
