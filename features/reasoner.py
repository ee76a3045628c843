"""The frozen models at work: prompts -> last-token states of the LLM, and intent texts -> vectors of the text encoder.

torch and transformers are imported when a model is loaded, so that whoever only needs the names pays nothing.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from features.prompt import FORM, SLOT

if TYPE_CHECKING:
    import torch
    from tokenizers import Tokenizer

F32 = NDArray[np.float32]
Progress = Callable[[str, int, int], None]

MAX_TOKENS = 256
"""A longer prompt loses its beginning: the slot stands at the end."""

CPU_BATCH, GPU_BATCH = 8, 128
"""On a CPU, batches over eight gain nothing."""


class Encoder(Protocol):
    """Whatever turns texts into vectors of one space."""

    base_id: str
    width: int

    def embed(self, texts: Sequence[str], progress: Progress | None = None) -> F32:
        """Texts -> f32[B, width], in the order given."""
        ...


class Reasoner:
    """A causal LLM folder as an encoder: h = H[b, max{j: mask_bj = 1}] (algorithm.md eq 1), bf16, mean not subtracted.

    `base_id` names everything that shapes a state: weights, tokenizer, slot, wording, pooling and dtype. One thread by
    default: on a shared machine more of them only wait for each other.
    """

    def __init__(self, folder: Path, device: Literal["auto", "cpu", "cuda"] = "auto", threads: int = 1) -> None:
        torch = _torch(threads)
        from transformers import AutoModel  # noqa: PLC0415

        self.device = _device(torch, device)
        self._model = AutoModel.from_pretrained(folder, dtype=torch.bfloat16, attn_implementation="sdpa")
        self._model = self._model.to(self.device).eval()
        self._tokenizer = _tokenizer(folder)
        self.width: int = self._model.config.hidden_size
        self.base_id = reasoner_id(folder)

    def embed(self, texts: Sequence[str], progress: Progress | None = None) -> F32:
        """Prompts -> last-token states f32[B, H], in the order given; long prompts keep their end."""
        tokens = [encoding.ids[-MAX_TOKENS:] for encoding in self._tokenizer.encode_batch(list(texts))]
        return _in_batches(tokens, self._states, self.width, self.device, progress)

    def _states(self, ids: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        # Padding stands at the right and attention is causal: no state before it can see it, so no mask is needed.
        hidden: torch.Tensor = self._model(input_ids=ids, use_cache=False).last_hidden_state
        last = mask.sum(dim=1) - 1
        return hidden[range(len(ids)), last]


class TextEncoder:
    """A sentence encoder folder (MiniLM): the mean of its token states, normalised; in fp32."""

    def __init__(self, folder: Path, device: Literal["auto", "cpu", "cuda"] = "cpu", threads: int = 1) -> None:
        torch = _torch(threads)
        from transformers import AutoModel  # noqa: PLC0415

        self.device = _device(torch, device)
        self._model = AutoModel.from_pretrained(folder, dtype=torch.float32).to(self.device).eval()
        self._tokenizer = _tokenizer(folder)
        self.width: int = self._model.config.hidden_size
        self.base_id = text_encoder_id(folder)

    def embed(self, texts: Sequence[str], progress: Progress | None = None) -> F32:
        """Texts -> unit vectors f32[B, 384], in the order given; a long text keeps its beginning."""
        tokens = [encoding.ids[:MAX_TOKENS] for encoding in self._tokenizer.encode_batch(list(texts))]
        return _in_batches(tokens, self._means, self.width, self.device, progress)

    def _means(self, ids: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        hidden: torch.Tensor = self._model(input_ids=ids, attention_mask=mask).last_hidden_state
        weights = mask.unsqueeze(-1).to(hidden.dtype)
        means: torch.Tensor = (hidden * weights).sum(dim=1) / weights.sum(dim=1)
        unit: torch.Tensor = means / means.norm(dim=1, keepdim=True).clamp_min(1e-12)
        return unit


def reasoner_id(folder: Path) -> str:
    """The `base_id` of a `Reasoner` on this folder, without loading it."""
    return _identity(folder, "last token, bf16", FORM, SLOT)


def text_encoder_id(folder: Path) -> str:
    """The `base_id` of a `TextEncoder` on this folder, without loading it."""
    return _identity(folder, "mean of tokens, normalised, fp32")


def _identity(folder: Path, *ways: str) -> str:
    """The sha256 over a model folder's weights and tokenizer and the ways it is used."""
    digest = hashlib.sha256()
    for name in ("model.safetensors", "tokenizer.json"):
        with (folder / name).open("rb") as file:
            digest.update(hashlib.file_digest(file, "sha256").digest())
    digest.update("\n".join(ways).encode())
    return digest.hexdigest()


def _torch(threads: int) -> Any:
    """torch, told how many threads to use; the model hub is never asked."""
    os.environ["HF_HUB_OFFLINE"] = "1"
    import torch  # noqa: PLC0415

    torch.set_num_threads(threads)
    return torch


def _device(torch: Any, asked: str) -> str:
    if asked == "cuda" and not torch.cuda.is_available():
        raise RuntimeError("the reasoner was asked to run on CUDA and torch sees none: set the device to auto or cpu")
    return "cuda" if asked != "cpu" and torch.cuda.is_available() else "cpu"


def _tokenizer(folder: Path) -> Tokenizer:
    from tokenizers import Tokenizer  # noqa: PLC0415

    tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
    tokenizer.no_padding()
    tokenizer.no_truncation()
    return tokenizer


def _in_batches(
    tokens: Sequence[Sequence[int]],
    forward: Callable[[torch.Tensor, torch.Tensor], torch.Tensor],
    width: int,
    device: str,
    progress: Progress | None,
) -> F32:
    """Runs `forward` over batches of like length, right padded; rows come back in the order of `tokens`."""
    import torch  # noqa: PLC0415

    vectors = np.empty((len(tokens), width), dtype=np.float32)
    done = 0
    for rows in _by_length(tokens, CPU_BATCH if device == "cpu" else GPU_BATCH):
        lengths = torch.tensor([len(tokens[row]) for row in rows])
        ids = torch.zeros((len(rows), int(lengths.max())), dtype=torch.long)
        for place, row in enumerate(rows):
            ids[place, : len(tokens[row])] = torch.tensor(tokens[row])
        mask = (torch.arange(ids.shape[1]) < lengths[:, None]).long()
        with torch.inference_mode():
            vectors[rows] = forward(ids.to(device), mask.to(device)).float().cpu().numpy()
        done += len(rows)
        if progress is not None:
            progress("embed texts", done, len(tokens))
    return vectors


def _by_length(tokens: Sequence[Sequence[int]], size: int) -> Iterator[list[int]]:
    """Row numbers in batches of `size`, the longest first, ties in the order given."""
    order = sorted(range(len(tokens)), key=lambda row: (-len(tokens[row]), row))
    return (order[start : start + size] for start in range(0, len(order), size))
