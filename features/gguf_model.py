"""Turns a GGUF file of the Llama family into a folder that transformers loads in a second: bf16 safetensors, tokenizer.

It reads the file with gguf's own reader: transformers' GGUF loading needs another package and half a minute.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    import torch
    from tokenizers import Tokenizer

F32 = NDArray[np.float32]

_CONTROL_TOKEN = 3
_BLOCK = {
    "attn_q": "self_attn.q_proj",
    "attn_k": "self_attn.k_proj",
    "attn_v": "self_attn.v_proj",
    "attn_output": "self_attn.o_proj",
    "ffn_gate": "mlp.gate_proj",
    "ffn_up": "mlp.up_proj",
    "ffn_down": "mlp.down_proj",
    "attn_norm": "input_layernorm",
    "ffn_norm": "post_attention_layernorm",
}
_OUTER = {"token_embd": "model.embed_tokens", "output_norm": "model.norm", "output": "lm_head"}


class UnknownLayout(ValueError):
    """A GGUF file of an architecture or with a tensor that this converter does not know."""


def convert(gguf_file: Path, target: Path) -> None:
    """Writes config.json, model.safetensors (bf16) and tokenizer.json into `target`. Raises `UnknownLayout`."""
    from safetensors.torch import save_file  # noqa: PLC0415

    told, stored = read_gguf(gguf_file)
    if told["general.architecture"] != "llama" or told["tokenizer.ggml.model"] != "gpt2":
        raise UnknownLayout(
            f"{gguf_file.name} holds a {told['general.architecture']} model with a {told['tokenizer.ggml.model']} "
            "tokenizer, expected llama with gpt2: give a Hugging Face folder of this model instead"
        )
    tensors = _tensors(stored, told)
    save_file(tensors, target / "model.safetensors", metadata={"format": "pt"})
    (target / "config.json").write_text(json.dumps(_config(told, is_tied="lm_head.weight" not in tensors), indent=2))
    _tokenizer(told).save(str(target / "tokenizer.json"))


def read_gguf(gguf_file: Path) -> tuple[dict[str, Any], Iterator[tuple[str, F32]]]:
    """What a GGUF file tells of its model, and its tensors one after the other, by their names, dequantised."""
    from gguf import GGUFReader, dequantize  # noqa: PLC0415

    reader = GGUFReader(str(gguf_file))
    told = {name: field.contents() for name, field in reader.fields.items() if not name.startswith("GGUF.")}
    return told, ((stored.name, dequantize(stored.data, stored.tensor_type)) for stored in reader.tensors)


def _tensors(stored: Iterable[tuple[str, F32]], told: dict[str, Any]) -> dict[str, torch.Tensor]:
    import torch  # noqa: PLC0415

    heads = {".attn_q.": told["llama.attention.head_count"], ".attn_k.": told["llama.attention.head_count_kv"]}
    tensors = {}
    for name, weights in stored:
        turned = next((_rotary_order(weights, count) for part, count in heads.items() if part in name), weights)
        tensors[_name(name)] = torch.from_numpy(np.array(turned)).to(torch.bfloat16)
    return tensors


def _rotary_order(weights: F32, heads: int) -> F32:
    """From GGUF's interleaved rotary pairs to transformers' halves:  [heads, d/2, 2, in] -> [heads, 2, d/2, in]."""
    rows, columns = weights.shape
    return weights.reshape(heads, rows // heads // 2, 2, columns).swapaxes(1, 2).reshape(rows, columns)


def _name(stored: str) -> str:
    """A tensor's name in transformers' Llama.

    >>> _name("blk.7.attn_q.weight"), _name("output_norm.weight")
    ('model.layers.7.self_attn.q_proj.weight', 'model.norm.weight')
    """
    match stored.split("."):
        case ["blk", layer, name, "weight"] if name in _BLOCK:
            return f"model.layers.{layer}.{_BLOCK[name]}.weight"
        case [name, "weight"] if name in _OUTER:
            return f"{_OUTER[name]}.weight"
    raise UnknownLayout(f"the GGUF tensor {stored} is not one of the Llama family: give a Hugging Face folder instead")


def _config(told: dict[str, Any], *, is_tied: bool) -> dict[str, Any]:
    heads, width = told["llama.attention.head_count"], told["llama.embedding_length"]
    return {
        "architectures": ["LlamaForCausalLM"],
        "model_type": "llama",
        "hidden_size": width,
        "intermediate_size": told["llama.feed_forward_length"],
        "num_hidden_layers": told["llama.block_count"],
        "num_attention_heads": heads,
        "num_key_value_heads": told["llama.attention.head_count_kv"],
        "head_dim": width // heads,
        "vocab_size": told["llama.vocab_size"],
        "max_position_embeddings": told["llama.context_length"],
        "rms_norm_eps": told["llama.attention.layer_norm_rms_epsilon"],
        "rope_theta": told["llama.rope.freq_base"],
        "bos_token_id": told["tokenizer.ggml.bos_token_id"],
        "eos_token_id": told["tokenizer.ggml.eos_token_id"],
        "pad_token_id": told["tokenizer.ggml.padding_token_id"],
        "tie_word_embeddings": is_tied,
        "hidden_act": "silu",
        "torch_dtype": "bfloat16",
    }


def _tokenizer(told: dict[str, Any]) -> Tokenizer:
    """Byte-level BPE with every digit a token of its own, as SmolLM2's."""
    from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers  # noqa: PLC0415

    tokens = told["tokenizer.ggml.tokens"]
    merges = [tuple(merge.split(" ", 1)) for merge in told["tokenizer.ggml.merges"]]
    tokenizer = Tokenizer(models.BPE(vocab={token: index for index, token in enumerate(tokens)}, merges=merges))
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(add_prefix_space=False)]
    )
    tokenizer.decoder = decoders.ByteLevel()
    kinds = told["tokenizer.ggml.token_type"]
    special = [token for token, kind in zip(tokens, kinds, strict=True) if kind == _CONTROL_TOKEN]
    tokenizer.add_special_tokens([AddedToken(token, special=True, normalized=False) for token in special])
    return tokenizer
