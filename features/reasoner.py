"""The frozen models at work: prompts -> last-token states of the LLM, and intent texts -> vectors of the text encoder.

A backend, and with it torch, transformers or ONNX Runtime, is loaded when a model is opened, so that whoever only
needs the names pays nothing.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from features.packed_reasoner import Forward, PackedReasoner
from features.parity_record import require
from features.prompt_tokens import opened_tokenizer
from features.reasoner_identity import REFERENCE, text_identity
from features.reasoner_plan import NoSuchBackend, Plan, module_of, planned, space_of
from features.reasoner_settings import Mode, ReasonerSettings

if TYPE_CHECKING:
    import torch

F32 = NDArray[np.float32]
Progress = Callable[[str, int, int], None]

CPU_BATCH, GPU_BATCH = 8, 128
"""On a CPU, batches over eight gain nothing."""


class Encoder(Protocol):
    """Whatever turns texts into vectors of one space."""

    base_id: str
    width: int

    def embed(self, texts: Sequence[str], progress: Progress | None = None) -> F32:
        """Texts -> f32[B, width], in the order given."""
        ...


class Reasoner(Encoder, Protocol):
    """A causal LLM folder as an encoder: h = H[b, max{j: mask_bj = 1}] (algorithm.md eq 1), mean not subtracted.

    `base_id` names everything that shapes a state: weights, tokenizer, wording and mode.
    """

    mode: Mode

    @property
    def provider(self) -> str:
        """What really runs the model: runtime, dtype and device, e.g. "torch fp32 cpu"."""
        ...

    def explain(self, texts: Sequence[str]) -> list[str]:
        """The query that mode G generates for each prompt. RuntimeError in mode P."""
        ...


def open_reasoner(folder: Path, settings: ReasonerSettings | None = None) -> Reasoner:
    """The reasoner of a model folder; any causal language model in Hugging Face's layout.

    Raises `NoSuchBackend` for what this machine cannot give, `NoParity` for another backend than the reference
    without a parity record, `GraphMissing` for a backend that needs its export first, `NotAModel` for a folder that
    lacks a part.
    """
    settings = settings or ReasonerSettings()
    plan = planned(folder, settings)
    reasoner = opened_unproved(folder, plan, settings)
    if reasoner.provider != REFERENCE:
        require(settings.cache, reasoner.base_id, reasoner.provider)
    return reasoner


def opened_unproved(folder: Path, plan: Plan, settings: ReasonerSettings) -> PackedReasoner:
    """A plan carried out, without asking for a parity record: for whoever measures one."""
    forward: Forward = module_of(plan.backend).open_forward(folder, settings, plan.device, plan.dtype, plan.mode)
    return PackedReasoner(forward, folder, plan.base_id, plan.mode)


def reasoner_id(folder: Path, settings: ReasonerSettings | None = None) -> str:
    """The `base_id` of the reasoner that the settings open on this folder, without loading it."""
    return space_of(folder, settings or ReasonerSettings())


TEXT_TOKENS = 256
"""So many tokens of a text are read by the text encoder, which was trained on no longer ones."""


class TextEncoder:
    """A sentence encoder folder (MiniLM): the mean of its token states, normalised; in fp32."""

    def __init__(self, folder: Path, device: Literal["auto", "cpu", "cuda"] = "cpu", threads: int = 1) -> None:
        os.environ["HF_HUB_OFFLINE"] = "1"
        import torch  # noqa: PLC0415
        from transformers import AutoModel  # noqa: PLC0415

        torch.set_num_threads(threads)
        self.device = "cuda" if device != "cpu" and torch.cuda.is_available() else "cpu"
        if device == "cuda" != self.device:
            raise NoSuchBackend("the text encoder was asked to run on CUDA and torch sees none: use auto or cpu")
        self._model = AutoModel.from_pretrained(folder, dtype=torch.float32).to(self.device).eval()
        self._tokenizer = opened_tokenizer(folder)
        self.width: int = self._model.config.hidden_size
        self.base_id = text_encoder_id(folder)

    def embed(self, texts: Sequence[str], progress: Progress | None = None) -> F32:
        """Texts -> unit vectors f32[B, 384], in the order given; a long text keeps its beginning."""
        import torch  # noqa: PLC0415

        tokens = [encoding.ids[:TEXT_TOKENS] for encoding in self._tokenizer.encode_batch(list(texts))]
        vectors = np.empty((len(tokens), self.width), dtype=np.float32)
        done = 0
        for rows in _by_length(tokens, CPU_BATCH if self.device == "cpu" else GPU_BATCH):
            with torch.inference_mode():
                vectors[rows] = self._means([tokens[row] for row in rows]).cpu().numpy()
            done += len(rows)
            if progress is not None:
                progress("embed texts", done, len(tokens))
        return vectors

    def _means(self, tokens: Sequence[Sequence[int]]) -> torch.Tensor:
        import torch  # noqa: PLC0415

        lengths = torch.tensor([len(row) for row in tokens])
        ids = torch.zeros((len(tokens), int(lengths.max())), dtype=torch.long)
        for place, row in enumerate(tokens):
            ids[place, : len(row)] = torch.tensor(row)
        mask = (torch.arange(ids.shape[1]) < lengths[:, None]).long().to(self.device)
        hidden: torch.Tensor = self._model(input_ids=ids.to(self.device), attention_mask=mask).last_hidden_state
        weights = mask.unsqueeze(-1).to(hidden.dtype)
        means: torch.Tensor = (hidden * weights).sum(dim=1) / weights.sum(dim=1)
        unit: torch.Tensor = means / means.norm(dim=1, keepdim=True).clamp_min(1e-12)
        return unit


def text_encoder_id(folder: Path) -> str:
    """The `base_id` of a `TextEncoder` on this folder, without loading it."""
    return text_identity(folder, "mean of tokens, normalised, fp32")


def _by_length(tokens: Sequence[Sequence[int]], size: int) -> Iterator[list[int]]:
    """Row numbers in batches of `size`, the longest first, ties in the order given."""
    order = sorted(range(len(tokens)), key=lambda row: (-len(tokens[row]), row))
    return (order[start : start + size] for start in range(0, len(order), size))
