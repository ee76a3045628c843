"""How much of a GPU's dense bf16 arithmetic our backend uses, on a randomly initialised model of Qwen3-0.6B's shape.

The texts begin differently, so that nothing is shared; tokens a second count from strings to vectors.
"""

from __future__ import annotations

import json
import shutil
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

from tests.benchmarks.embedding_process import EmbeddingProcess
from tests.benchmarks.prompts import Lengths
from tests.benchmarks.ratios import percentiles

DENSE_BF16_FLOPS = {"H100": 989e12, "H200": 989e12, "A100": 312e12, "L4": 121e12}
"""By the makers' data sheets, without sparsity."""
SHAPE = {
    "hidden_size": 1024, "intermediate_size": 3072, "num_hidden_layers": 28, "num_attention_heads": 16,
    "num_key_value_heads": 8, "head_dim": 128, "tie_word_embeddings": True,
}  # fmt: skip
PARAMETERS = 28 * (2 * 1024 * 16 * 128 + 2 * 1024 * 8 * 128 + 3 * 1024 * 3072)
"""That every token passes through: attention and feed-forward matrices, not the embedding table."""
TEXTS, CALLS = 4096, 6


def share(folder: Path, tokens: int) -> float | None:
    """2 x parameters x tokens/s over the data sheet's peak, for texts of about so many tokens; None for another GPU."""
    import torch

    name = torch.cuda.get_device_name()
    peak = next((flops for known, flops in DENSE_BF16_FLOPS.items() if known in name), None)
    if peak is None:
        return None
    with tempfile.TemporaryDirectory(prefix="rgalign-bench-") as scratch:
        model = random_model(folder, Path(scratch) / "model")
        told = {"engine": "ours", "folder": str(model), "backend": "torch", "dtype": "bf16", "device": "cuda"}
        with EmbeddingProcess("random_0.6b", told) as engine:
            rates = [_rate(engine, folder, tokens, number) for number in range(CALLS)]
    return 2 * PARAMETERS * percentiles(rates[1:])[0] / peak


def _rate(engine: EmbeddingProcess, folder: Path, tokens: int, seed: int) -> float:
    lengths, rng = Lengths(folder), np.random.default_rng(seed)
    drawn = rng.integers(1000, lengths.tokenizer.get_vocab_size(), (TEXTS, tokens))
    texts = [lengths.tokenizer.decode(row.tolist()) for row in drawn]
    count = sum(map(lengths, texts))
    began_s = time.perf_counter()
    engine.call(texts, 0)
    return count / (time.perf_counter() - began_s)


def random_model(folder: Path, target: Path) -> Path:
    """A folder with the tokenizer of `folder` and random weights of `SHAPE`."""
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM

    told = json.loads((folder / "config.json").read_text())
    config = AutoConfig.for_model("qwen3", **SHAPE, vocab_size=told["vocab_size"], eos_token_id=told["eos_token_id"])
    torch.manual_seed(0)
    model: Any = AutoModelForCausalLM.from_config(config, dtype=torch.bfloat16)  # type: ignore[no-untyped-call]
    model.save_pretrained(target)
    shutil.copyfile(folder / "tokenizer.json", target / "tokenizer.json")
    return target
