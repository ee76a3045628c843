"""The reasoner on torch: a model folder of transformers, in fp32 or bf16, on a CPU or on CUDA."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from transformers import AutoModel, AutoModelForCausalLM, DynamicCache
from transformers.utils import logging

from features.reasoner_settings import Device, Dtype, Mode, ReasonerSettings
from features.token_tree import Tokens, TokenTree, batches, grown

F32 = NDArray[np.float32]
Past = tuple[tuple[Tensor, Tensor], ...]

DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16}

TREE: dict[Device, int] = {"cpu": 256, "cuda": 512}
"""Nodes of one tree: more would spend attention on pairs that do not see each other."""

TREES: dict[Device, int] = {"cpu": 1, "cuda": 32}
"""How many trees run at once."""

CONTINUED_AT_ONCE = 16


def has_cuda() -> bool:
    """Whether torch sees a CUDA device."""
    return torch.cuda.is_available()


def open_forward(folder: Path, settings: ReasonerSettings, device: Device, dtype: Dtype, mode: Mode) -> TorchForward:
    """The model of a folder, loaded."""
    return TorchForward(folder, device, dtype, mode, settings.threads)


class TorchForward:
    """A causal language model's decoder, and its head in mode G, with SDPA attention."""

    def __init__(self, folder: Path, device: Device, dtype: Dtype, mode: Mode, threads: int) -> None:
        os.environ["HF_HUB_OFFLINE"] = "1"
        torch.set_num_threads(threads)
        chatter: Any = logging
        chatter.set_verbosity_error()
        chatter.disable_progress_bar()
        opened = AutoModelForCausalLM if mode == "G" else AutoModel
        model: Any = opened.from_pretrained(folder, dtype=DTYPES[dtype], attn_implementation="sdpa")
        model.to(device).eval()
        self._decoder = model.base_model if mode == "G" else model
        self._head = model.get_output_embeddings() if mode == "G" else None
        self._device = next(model.parameters()).device
        found = next(key for key, value in DTYPES.items() if value == model.dtype)
        name = f" ({torch.cuda.get_device_name(self._device)})" if self._device.type == "cuda" else ""
        self.provider = f"torch {found} {self._device.type}{name}"
        self.device = device
        self.width: int = model.config.get_text_config().hidden_size
        self.budget = TREE[device] * TREES[device]

    @torch.inference_mode()
    def past(self, tokens: Tokens) -> Past:
        """The keys and values [1, heads, P, d] of every layer."""
        cache: Any = DynamicCache()
        self._decoder(input_ids=self._ids([tokens]), past_key_values=cache, use_cache=True)
        return tuple((layer.keys, layer.values) for layer in cache.layers)

    def cut(self, past: Past, length: int) -> Past:
        """The keys and values of the first `length` tokens."""
        return tuple((keys[:, :, :length], values[:, :, :length]) for keys, values in past)

    @torch.inference_mode()
    def states(self, sequences: Sequence[Tokens], skip: int, past: Past | None) -> F32:
        """f32[B, H]; `past` holds the first `skip` tokens of every sequence."""
        groups = list(batches([tokens[skip:] for tokens in sequences], TREE[self.device]))
        trees = [grown([sequences[place] for place in group], skip) for group in groups]
        hidden = self._run(trees, skip, past)
        last = [row[tree.ends.tolist()] for row, tree in zip(hidden, trees, strict=True)]
        vectors = torch.empty(len(sequences), self.width, dtype=torch.float32)
        vectors[[place for group in groups for place in group]] = torch.cat(last).float().cpu()
        return vectors.numpy()

    def _run(self, trees: Sequence[TokenTree], skip: int, past: Past | None) -> Tensor:
        """The states [G, N, H] of G trees' nodes, each padded to N by nodes that see the past and themselves."""
        count, nodes = len(trees), max(len(tree.ids) for tree in trees)
        ids, depths = np.zeros((2, count, nodes), np.int64)
        sees = np.zeros((count, 1, nodes, skip + nodes), np.bool_)
        sees[..., :skip] = True
        sees[:, :, np.arange(nodes), skip + np.arange(nodes)] = True
        for row, tree in enumerate(trees):
            size = len(tree.ids)
            ids[row, :size], depths[row, :size] = tree.ids, tree.depths
            sees[row, 0, :size, skip : skip + size] = tree.sees
        hidden: Tensor = self._decoder(
            input_ids=torch.from_numpy(ids).to(self._device),
            position_ids=torch.from_numpy(skip + depths).to(self._device),
            attention_mask=torch.from_numpy(sees).to(self._device),
            past_key_values=_cache(past, count) if past else None,
            use_cache=past is not None,
        ).last_hidden_state
        return hidden

    @torch.inference_mode()
    def continued(self, sequences: Sequence[Tokens], limit: int, is_over: Callable[[Tokens], bool]) -> list[list[int]]:
        """The greedy continuation of each sequence, until it is over or `limit` tokens long."""
        order = sorted(range(len(sequences)), key=lambda place: -len(sequences[place]))
        made: dict[int, list[int]] = {}
        for start in range(0, len(order), CONTINUED_AT_ONCE):
            rows = order[start : start + CONTINUED_AT_ONCE]
            made.update(zip(rows, self._greedy([sequences[row] for row in rows], limit, is_over), strict=True))
        return [made[place] for place in range(len(sequences))]

    def _greedy(self, sequences: Sequence[Tokens], limit: int, is_over: Callable[[Tokens], bool]) -> list[list[int]]:
        """A batch's continuations. Padding stands at the right, so the first pass needs no mask, later ones skip it."""
        lengths = torch.tensor([len(tokens) for tokens in sequences], device=self._device)
        cache = DynamicCache()
        hidden = self._decoder(input_ids=self._ids(sequences), past_key_values=cache, use_cache=True).last_hidden_state
        last = hidden[torch.arange(len(sequences)), lengths - 1]
        seen = torch.arange(hidden.shape[1], device=self._device) < lengths[:, None]
        made: list[list[int]] = [[] for _ in sequences]
        for step in range(limit):
            chosen = self._chosen(last)
            for tokens, token in zip(made, chosen.tolist(), strict=True):
                if not tokens or not is_over(tokens):
                    tokens.append(token)
            if step == limit - 1 or all(map(is_over, made)):
                break
            seen = torch.cat([seen, torch.ones_like(seen[:, :1])], dim=1)
            last = self._decoder(
                input_ids=chosen[:, None],
                position_ids=(lengths + step)[:, None],
                attention_mask=seen[:, None, None, :],
                past_key_values=cache,
                use_cache=True,
            ).last_hidden_state[:, 0]
        return made

    def _chosen(self, states: Tensor) -> Tensor:
        assert self._head is not None, "mode P has no head"
        logits: Tensor = self._head(states)
        return logits.argmax(dim=-1)

    def _ids(self, sequences: Sequence[Tokens]) -> Tensor:
        padded = np.zeros((len(sequences), max(map(len, sequences))), np.int64)
        for row, tokens in zip(padded, sequences, strict=True):
            row[: len(tokens)] = tokens
        return torch.from_numpy(padded).to(self._device)


def _cache(past: Past, count: int) -> Any:
    """A fresh cache of `count` rows that begins with `past`, which stays as it is."""
    return DynamicCache([(keys.expand(count, -1, -1, -1), values.expand(count, -1, -1, -1)) for keys, values in past])
