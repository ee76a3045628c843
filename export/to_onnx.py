"""A trained QE-Rec as two ONNX graphs: `ranker.onnx` per request, `intent_tower.onnx` per knowledge base."""

from __future__ import annotations

import contextlib
import gc
import hashlib
import io
import logging
import os
import sys
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import lru_cache
from inspect import getsource
from pathlib import Path
from types import ModuleType

import onnx
import onnxscript
import torch
from onnx import numpy_helper
from torch import Tensor, nn

from training import meeting, qerec, user_tower
from training.qerec import QERec, create
from training.qerec_shape import QERecShape

OPSET = 18
RANKER_INPUTS = (
    "numeric",
    "categorical",
    "event_kinds",
    "event_ages",
    "query",
    "has_query",
    "intent_repr",
    "intent_key",
)
TOWER_INPUTS = ("id_index", "text", "state", "family")
TOWER_OUTPUTS = ("intent_repr", "intent_key")


def graphs(model: QERec, cache: Path | None = None) -> dict[str, bytes]:
    """`{"ranker.onnx": ..., "intent_tower.onnx": ...}`; the numbers of requests B and of intents N are free.

    Tracing takes seconds and depends on a model's shape alone, so it is done once a process, and once for all where
    `cache` names a folder; every call only puts the model's weights in. That they stand where they should is shown by
    the golden requests, which every bundle must answer before it is written.
    """
    shape = replace(model.shape, intents=1, families=1)
    modules = {"ranker.onnx": model.head, "intent_tower.onnx": model.tower}
    traced = _traced(shape) if cache is None else _remembered(shape, cache)
    return {name: _filled(traced[name], module) for name, module in modules.items()}


def _filled(graph: bytes, module: nn.Module) -> bytes:
    """The graph with the module's weights and buffers in the place of those it was traced with."""
    proto = onnx.load_model_from_string(graph)
    weights = module.state_dict()
    if (found := {tensor.name for tensor in proto.graph.initializer}) != weights.keys():
        raise RuntimeError(
            f"the traced graph holds {sorted(found ^ weights.keys())[:5]} apart from the module's weights"
        )
    for tensor in proto.graph.initializer:
        tensor.CopyFrom(numpy_helper.from_array(weights[tensor.name].detach().contiguous().numpy(), tensor.name))
    return bytes(proto.SerializeToString())


def _remembered(shape: QERecShape, cache: Path) -> dict[str, bytes]:
    """The traced graphs from the cache folder, traced and stored there first if absent or spoiled."""
    made_by = (torch.__version__, onnxscript.__version__, *map(getsource, _traced_code()))
    key = hashlib.sha256(repr((shape, made_by)).encode()).hexdigest()[:16]
    found = {name: cache / "graphs" / f"{key}-{name}" for name in ("ranker.onnx", "intent_tower.onnx")}
    try:
        return {name: _checked(path.read_bytes()) for name, path in found.items()}
    except (OSError, ValueError):
        traced = _traced(shape)
    for name, path in found.items():
        path.parent.mkdir(parents=True, exist_ok=True)
        hidden = path.with_name(f".{path.name}.{os.getpid()}")
        hidden.write_bytes(hashlib.sha256(traced[name]).digest() + traced[name])
        hidden.replace(path)
    return traced


def _traced_code() -> tuple[ModuleType, ...]:
    """The modules that decide how a graph looks."""
    return qerec, meeting, user_tower, sys.modules[__name__]


def _checked(stored: bytes) -> bytes:
    if hashlib.sha256(stored[32:]).digest() != stored[:32]:
        raise ValueError("a cached graph has another sha256 than it was stored with")
    return stored[32:]


@lru_cache(maxsize=4)
def _traced(shape: QERecShape) -> dict[str, bytes]:
    """Both graphs of an untrained model of this shape."""
    model = create(shape, seed=0).eval()
    requests, intents = torch.export.Dim("requests"), torch.export.Dim("intents")
    b, n = 4, 6
    ranker = (
        torch.zeros(b, shape.numeric),
        torch.zeros(b, len(shape.categories), dtype=torch.int64),
        torch.zeros(b, shape.sequence, dtype=torch.int64),
        torch.zeros(b, shape.sequence),
        torch.zeros(b, shape.query_width),
        torch.zeros(b),
        torch.zeros(n, shape.width),
        torch.zeros(n, shape.width),
    )
    tower = (
        torch.zeros(n, dtype=torch.int64),
        torch.zeros(n, shape.text_width),
        torch.zeros(n, shape.query_width),
        torch.zeros(n, dtype=torch.int64),
    )
    ranker_axes = ({0: requests},) * 6 + ({0: intents},) * 2
    return {
        "ranker.onnx": _graph(model.head, ranker, RANKER_INPUTS, ("logits",), ranker_axes),
        "intent_tower.onnx": _graph(model.tower, tower, TOWER_INPUTS, TOWER_OUTPUTS, ({0: intents},) * 4),
    }


def _graph(
    module: nn.Module,
    example: tuple[Tensor, ...],
    inputs: Sequence[str],
    outputs: Sequence[str],
    axes: tuple[dict[int, torch.export.Dim], ...],
) -> bytes:
    with silence(), torch.no_grad():
        program = torch.onnx.export(
            module,
            example,
            dynamo=True,
            opset_version=OPSET,
            input_names=list(inputs),
            output_names=list(outputs),
            dynamic_shapes=axes,
            verbose=False,
            optimize=False,  # folding would bake weights in; ONNX Runtime folds when it loads
        )
    if program is None:
        raise RuntimeError(
            "torch.onnx.export gave no program; expected one with dynamo=True: pin torch as the lock does"
        )
    return bytes(program.model_proto.SerializeToString())


@contextlib.contextmanager
def silence() -> Iterator[None]:
    """The exporter's chatter and its own deprecations are not ours to show; its garbage is collected afterwards."""
    noisy = [logging.getLogger(name) for name in ("torch.onnx", "onnxscript", "onnx_ir", "onnxruntime.quantization")]
    levels = [logger.level for logger in noisy]
    collects = gc.isenabled()
    gc.disable()
    for logger in noisy:
        logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
            warnings.simplefilter("ignore")
            yield
    finally:
        if collects:
            gc.enable()
        for logger, level in zip(noisy, levels, strict=True):
            logger.setLevel(level)
