"""One run of a causal LLM gives every way to pool a prompt, so that ways are compared on the same states.

A prompt without its slot, the same with an EOS, the whole prompt, and that with an EOS are four branches of one tree
(`features.token_tree`): what they share is computed once.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from features.models import Progress
from features.prompt import FORM, SLOT
from features.prompt_tokens import PromptTokens
from features.reasoner_identity import text_identity
from features.token_tree import Tokens, batches, grown

if TYPE_CHECKING:
    import torch

F32 = NDArray[np.float32]

POOLINGS = ("slot", "mean", "text_end", "eos", "slot_eos")
"""The slot's last token; the mean over the prompt; the last token before the slot; an EOS there, and one at the end."""

_NODES = 512


class PooledStates:
    """A causal LLM folder as an encoder of width `len(POOLINGS)` x H, in fp32, no mean subtracted.

    It runs on CUDA where torch sees one. `embed` takes prompts that end in the slot.
    """

    def __init__(self, folder: Path, threads: int = 1) -> None:
        os.environ["HF_HUB_OFFLINE"] = "1"
        import torch  # noqa: PLC0415
        from transformers import AutoModel  # noqa: PLC0415
        from transformers.utils.logging import disable_progress_bar  # noqa: PLC0415

        disable_progress_bar()  # type: ignore[no-untyped-call]
        torch.set_num_threads(threads)
        self._device = "cuda" if torch.cuda.is_available() else "cpu"
        model = AutoModel.from_pretrained(folder, dtype=torch.float32, attn_implementation="sdpa")
        self._model = model.to(self._device).eval()
        self._tokens = PromptTokens(folder)
        self.state_width: int = model.config.get_text_config().hidden_size
        self.width = len(POOLINGS) * self.state_width
        self.base_id = pooled_id(folder)

    def embed(self, texts: Sequence[str], progress: Progress | None = None) -> F32:
        """Prompts -> f32[B, len(POOLINGS) * H], in the order given; one pooling after the other along the width.

        Raises ValueError for a text without the slot.
        """
        if strange := [text for text in texts if not text.endswith(SLOT)]:
            raise ValueError(
                f"a prompt ends in {strange[0][-40:]!r}, expected the slot {SLOT!r}: render it as prompts are"
            )
        whole, bodies = self._tokens.of(texts), self._tokens.of([text.removesuffix(SLOT) for text in texts])
        vectors = np.empty((len(texts), self.width), dtype=np.float32)
        done = 0
        for places in batches(whole, _NODES):
            vectors[places] = self._pooled([bodies[place] for place in places], [whole[place] for place in places])
            done += len(places)
            if progress is not None:
                progress("embed prompts", done, len(texts))
        return vectors

    def _pooled(self, bodies: Sequence[Tokens], whole: Sequence[Tokens]) -> F32:
        """f32[B, len(POOLINGS) * H] of a batch."""
        end, count = self._tokens.end, len(whole)
        ended = [[*tokens, end] for tokens in (*bodies, *whole)]
        tree = grown([*bodies, *whole, *ended])
        states = self._states(tree.ids, tree.depths, tree.sees)
        body, slot, eos, slot_eos = (states[tree.ends[at * count : (at + 1) * count]] for at in range(4))
        path = tree.sees[tree.ends[count : 2 * count]].astype(np.float32)
        mean = path @ states / path.sum(axis=1, keepdims=True)
        return np.concatenate([slot, mean, body, eos, slot_eos], axis=1)

    def _states(self, ids: NDArray[np.int64], depths: NDArray[np.int64], sees: NDArray[np.bool_]) -> F32:
        """f32[N, H] of a tree's N nodes."""
        import torch  # noqa: PLC0415

        def given(array: NDArray[np.int64] | NDArray[np.bool_]) -> torch.Tensor:
            return torch.from_numpy(array)[None].to(self._device)

        with torch.inference_mode():
            hidden: torch.Tensor = self._model(
                input_ids=given(ids), position_ids=given(depths), attention_mask=given(sees)[None], use_cache=False
            ).last_hidden_state[0]
        return np.asarray(hidden.cpu().numpy())


def pooled_id(folder: Path) -> str:
    """The `base_id` of `PooledStates` on this folder, without loading it."""
    return text_identity(folder, FORM, SLOT, "all poolings", *POOLINGS)


def split(vectors: F32) -> dict[str, F32]:
    """The rows of `PooledStates.embed` by pooling, each f32[B, H].

    >>> {name: part.shape for name, part in split(np.zeros((2, 5 * 3), np.float32)).items()}["eos"]
    (2, 3)
    """
    return dict(zip(POOLINGS, np.split(vectors, len(POOLINGS), axis=1), strict=True))
