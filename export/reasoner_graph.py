"""A causal language model as an ONNX graph over trees of tokens, exported once a model folder and kept in the cache."""

from __future__ import annotations

import os
import shutil
import tempfile
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from export.to_onnx import silence
from features.file_lock import locked
from features.reasoner_graphs import graphs_folder
from features.reasoner_settings import Dtype

Progress = Callable[[str, int, int], None]

OPSET = 23
"""The first with attention, RMS norm and rotary embedding as operators of their own: a tenth faster than 18 here."""

INPUTS = ("ids", "positions", "sees", "past", "ends")
OUTPUTS = ("states", "present")

BLOCK = 32
"""Weights that share a scale: with 128 the worst prompt falls below the parity bound."""

ATOL, RTOL = 1e-4, 1e-4
_EXAMPLES = ((1, 0), (3, 2), (8, 5))
"""(nodes, tokens before them) that a graph is tried with before it is kept."""


class GraphDiffers(RuntimeError):
    """An exported graph that does not give the model's own states."""


class TreeModel(nn.Module):
    """A decoder over one tree of N nodes after P tokens, its keys and values given and returned.

    ids i64[1, N], positions i64[1, N], sees bool[1, 1, N, P + N], past f32[2 * layers, 1, heads, P, d], ends i64[B]
    -> states f32[B, H], present f32[2 * layers, 1, heads, N, d].
    """

    def __init__(self, decoder: Any) -> None:
        super().__init__()
        self.decoder = decoder

    def forward(
        self, ids: Tensor, positions: Tensor, sees: Tensor, past: Tensor, ends: Tensor
    ) -> tuple[Tensor, Tensor]:
        """The states at `ends`, and the keys and values of the nodes."""
        from transformers import DynamicCache  # noqa: PLC0415

        cache: Any = DynamicCache([(past[row], past[row + 1]) for row in range(0, past.shape[0], 2)])
        hidden = self.decoder(
            input_ids=ids, position_ids=positions, attention_mask=sees, past_key_values=cache, use_cache=True
        ).last_hidden_state
        length = past.shape[3]
        present = [tensor[:, :, length:] for layer in cache.layers for tensor in (layer.keys, layer.values)]
        return hidden[0].index_select(0, ends), torch.stack(present)


def ensure_graph(folder: Path, cache: Path, dtype: Dtype, progress: Progress = lambda *_: None) -> Path:
    """The graph of a model folder, fp32 or int8, exported if absent. Safe to call from several processes at once.

    Takes a minute or two and some GB. Raises `GraphDiffers`.
    """
    home = graphs_folder(cache, folder)
    with locked(home / "lock"):
        if not (home / "fp32.onnx").exists():
            progress("export the reasoner to ONNX", 0, 1)
            _placed(home, "fp32", lambda scratch: _export(folder, scratch))
            progress("export the reasoner to ONNX", 1, 1)
        if dtype == "int8" and not (home / "int8.onnx").exists():
            progress("quantise the reasoner to 8 bits", 0, 1)
            _placed(home, "int8", lambda scratch: _quantise(home / "fp32.onnx", scratch))
            progress("quantise the reasoner to 8 bits", 1, 1)
    return home / f"{dtype}.onnx"


def _placed(home: Path, name: str, make: Callable[[Path], None]) -> None:
    """Lets `make` write `<name>.onnx` and its weights, then puts both into place, the graph last."""
    scratch = Path(tempfile.mkdtemp(dir=home, prefix=f".{name}-"))
    try:
        make(scratch / f"{name}.onnx")
        for path in sorted(scratch.iterdir(), reverse=True):
            path.replace(home / path.name)
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


def _export(folder: Path, target: Path) -> None:
    os.environ["HF_HUB_OFFLINE"] = "1"
    from transformers import AutoModel  # noqa: PLC0415

    decoder = AutoModel.from_pretrained(folder, dtype=torch.float32, attn_implementation="sdpa").eval()
    model, auto = TreeModel(decoder), torch.export.Dim.AUTO
    with silence(), warnings.catch_warnings(), torch.no_grad():
        warnings.simplefilter("ignore")
        program = torch.onnx.export(
            model,
            example(decoder.config, 7, 3),
            dynamo=True,
            opset_version=OPSET,
            input_names=list(INPUTS),
            output_names=list(OUTPUTS),
            dynamic_shapes=({1: auto}, {1: auto}, {2: auto, 3: auto}, {3: auto}, {0: auto}),
            external_data=True,
            verbose=False,
        )
        if program is None:
            raise RuntimeError("torch.onnx.export gave no program; expected one: pin torch as the lock does")
        program.save(str(target), external_data=True)
    _check(target, model)


def example(config: Any, nodes: int, before: int) -> tuple[Tensor, ...]:
    """A path of `nodes` tokens after `before` others, as inputs of `TreeModel`; its last two nodes are ends."""
    text = config.get_text_config()
    width = getattr(text, "head_dim", None) or text.hidden_size // text.num_attention_heads
    made = torch.Generator().manual_seed(nodes)
    return (
        torch.randint(0, text.vocab_size, (1, nodes), generator=made),
        torch.arange(before, before + nodes)[None],
        torch.ones(1, 1, nodes, before + nodes, dtype=torch.bool).tril(before),
        torch.randn(2 * text.num_hidden_layers, 1, text.num_key_value_heads, before, width, generator=made),
        torch.tensor([max(nodes - 2, 0), nodes - 1]),
    )


def _check(graph: Path, model: TreeModel) -> None:
    """The graph gives the model's states for trees of other sizes than it was traced with."""
    from features.reasoner_onnx import open_session  # noqa: PLC0415

    session = open_session(graph, "cpu", threads=1)
    for nodes, before in _EXAMPLES:
        inputs = example(model.decoder.config, nodes, before)
        with torch.inference_mode():
            wanted = model(*inputs)[0].numpy()
        feed = {name: tensor.numpy() for name, tensor in zip(INPUTS, inputs, strict=True)}
        found = session.run(["states"], feed)[0]
        if not np.allclose(found, wanted, atol=ATOL * max(1.0, float(np.abs(wanted).max())), rtol=RTOL):
            raise GraphDiffers(
                f"{graph.name} differs from its model by {np.abs(found - wanted).max():.2g} with {nodes} tokens after "
                f"{before}, expected {ATOL}: use RGALIGN_REASONER_BACKEND=torch for this model"
            )


def _quantise(source: Path, target: Path) -> None:
    """Every MatMul's weights in 8 bits, blocks of `BLOCK` with a scale each; sums in 32 bits."""
    import onnx  # noqa: PLC0415
    from onnxruntime.quantization.matmul_nbits_quantizer import MatMulNBitsQuantizer  # noqa: PLC0415

    with silence():
        quantizer = MatMulNBitsQuantizer(
            onnx.load(source), bits=8, block_size=BLOCK, is_symmetric=True, accuracy_level=4
        )
        quantizer.process()
        quantizer.model.save_model_to_file(str(target), use_external_data_format=True)
