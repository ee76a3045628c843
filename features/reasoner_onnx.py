"""The reasoner on ONNX Runtime: a graph that `export.reasoner_graph` made of a model folder, on a CPU or on CUDA."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime as ort
from numpy.typing import NDArray

from features.reasoner_graphs import graph_file
from features.reasoner_settings import Device, Dtype, Mode, ReasonerSettings
from features.token_tree import Tokens, TokenTree, batches, grown

F32 = NDArray[np.float32]

TREE = {"cpu": 256, "cuda": 2048}
"""Nodes of one run's tree: more would spend attention on pairs that do not see each other."""

_PROVIDERS: dict[Device, str] = {"cpu": "CPUExecutionProvider", "cuda": "CUDAExecutionProvider"}


class OtherProvider(RuntimeError):
    """A session on another execution provider than the one asked for: nothing falls back by itself."""


def has_cuda() -> bool:
    """Whether this ONNX Runtime is built for CUDA."""
    return _PROVIDERS["cuda"] in ort.get_available_providers()


def open_forward(folder: Path, settings: ReasonerSettings, device: Device, dtype: Dtype, _mode: Mode) -> OnnxForward:
    """The graph of a folder, loaded. Raises `GraphMissing` when it was never made."""
    return OnnxForward(graph_file(settings.cache, folder, dtype), device, dtype, settings.threads)


class OnnxForward:
    """One graph: (ids, positions, who sees whom, past, ends) -> (states at the ends, keys and values)."""

    def __init__(self, graph: Path, device: Device, dtype: Dtype, threads: int) -> None:
        self._session = open_session(graph, device, threads)
        shapes = {entry.name: entry.shape for entry in (*self._session.get_inputs(), *self._session.get_outputs())}
        self.provider = f"onnxruntime {dtype} {self._session.get_providers()[0]}"
        self.device: Device = device
        self.width: int = shapes["states"][1]
        self.budget = TREE[device]
        layers_and_two, _, heads, _, head_width = shapes["past"]
        self._empty = np.zeros((layers_and_two, 1, heads, 0, head_width), np.float32)

    def past(self, tokens: Tokens) -> F32:
        """The keys and values f32[2 * layers, 1, heads, P, d]."""
        return self._run(grown([tokens]), 0, self._empty)[1]

    def cut(self, past: F32, length: int) -> F32:
        """The keys and values of the first `length` tokens."""
        return np.ascontiguousarray(past[:, :, :, :length])

    def states(self, sequences: Sequence[Tokens], skip: int, past: F32 | None) -> F32:
        """f32[B, H]; `past` holds the first `skip` tokens of every sequence."""
        vectors = np.empty((len(sequences), self.width), np.float32)
        for rows in batches([tokens[skip:] for tokens in sequences], self.budget):
            tree = grown([sequences[row] for row in rows], skip)
            vectors[rows] = self._run(tree, skip, self._empty if past is None else past)[0]
        return vectors

    def continued(self, _sequences: Sequence[Tokens], _limit: int, _is_over: Callable[[Tokens], bool]) -> Any:
        """The graph has no head: `features.reasoner` refuses mode G before it comes to this."""
        raise NotImplementedError

    def _run(self, tree: TokenTree, skip: int, past: F32) -> tuple[F32, F32]:
        sees = np.concatenate([np.ones((len(tree.ids), skip), np.bool_), tree.sees], axis=1)
        feed = {
            "ids": tree.ids[None],
            "positions": skip + tree.depths[None],
            "sees": sees[None, None],
            "past": past,
            "ends": tree.ends,
        }
        states, present = self._session.run(["states", "present"], feed)
        return states, present


def open_session(graph: Path, device: Device, threads: int) -> Any:
    """A session that does not spin, on the provider asked for and on no other. Raises `OtherProvider`."""
    options = ort.SessionOptions()
    options.intra_op_num_threads, options.inter_op_num_threads = threads, 1
    options.enable_cpu_mem_arena = options.enable_mem_pattern = False
    options.log_severity_level = 3
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    wanted = _PROVIDERS[device]
    if wanted not in ort.get_available_providers():
        raise OtherProvider(
            f"{wanted} was asked for, this ONNX Runtime offers {ort.get_available_providers()}: install the gpu extra "
            "(`make install GPU=1`) or set RGALIGN_DEVICE=cpu"
        )
    if device == "cuda":
        ort.preload_dlls()
        options.add_session_config_entry("session.disable_cpu_ep_fallback", "1")
    session = ort.InferenceSession(graph, options, providers=[wanted])
    if (found := session.get_providers()[0]) != wanted:
        raise OtherProvider(f"{graph.name} runs on {found}, expected {wanted}: set RGALIGN_DEVICE=cpu")
    return session
