"""Turns a GGUF file of Gemma 3 (text) into a folder that transformers loads: bf16 safetensors, tokenizer with its BOS.

Beside Llama's layout (`features.gguf_model`) it has norms around both halves of a block, stored with one added, and a
SentencePiece vocabulary whose merges follow from the scores.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from features.gguf_model import F32, UnknownLayout, read_gguf

if TYPE_CHECKING:
    import torch
    from tokenizers import Tokenizer

_CONTROL_TOKEN = 3
_LOCAL_ROPE_THETA = 10_000.0
_BLOCK = {
    "attn_q": "self_attn.q_proj",
    "attn_k": "self_attn.k_proj",
    "attn_v": "self_attn.v_proj",
    "attn_output": "self_attn.o_proj",
    "attn_q_norm": "self_attn.q_norm",
    "attn_k_norm": "self_attn.k_norm",
    "attn_norm": "input_layernorm",
    "post_attention_norm": "post_attention_layernorm",
    "ffn_gate": "mlp.gate_proj",
    "ffn_up": "mlp.up_proj",
    "ffn_down": "mlp.down_proj",
    "ffn_norm": "pre_feedforward_layernorm",
    "post_ffw_norm": "post_feedforward_layernorm",
}
_OUTER = {"token_embd": "model.embed_tokens", "output_norm": "model.norm"}


def convert_gemma(gguf_file: Path, target: Path) -> None:
    """Writes config.json, model.safetensors (bf16) and tokenizer.json into `target`. Raises `UnknownLayout`."""
    from safetensors.torch import save_file  # noqa: PLC0415

    told, stored = read_gguf(gguf_file)
    if told["general.architecture"] != "gemma3":
        raise UnknownLayout(
            f"{gguf_file.name} holds a {told['general.architecture']} model, expected gemma3: "
            "give a Hugging Face folder of this model instead"
        )
    save_file(_tensors(stored), target / "model.safetensors", metadata={"format": "pt"})
    (target / "config.json").write_text(json.dumps(_config(told), indent=2))
    spm_tokenizer(
        told["tokenizer.ggml.tokens"],
        told["tokenizer.ggml.scores"],
        [kind == _CONTROL_TOKEN for kind in told["tokenizer.ggml.token_type"]],
    ).save(str(target / "tokenizer.json"))


def _tensors(stored: Iterable[tuple[str, F32]]) -> dict[str, torch.Tensor]:
    import torch  # noqa: PLC0415

    tensors = {}
    for theirs, weights in stored:
        name = _name(theirs)
        shifted = weights - 1 if name.endswith("norm.weight") else np.array(weights)
        tensors[name] = torch.from_numpy(shifted).to(torch.bfloat16)
    return tensors


def _name(stored: str) -> str:
    """A tensor's name in transformers' Gemma 3.

    >>> _name("blk.7.post_ffw_norm.weight"), _name("output_norm.weight")
    ('model.layers.7.post_feedforward_layernorm.weight', 'model.norm.weight')
    """
    match stored.split("."):
        case ["blk", layer, name, "weight"] if name in _BLOCK:
            return f"model.layers.{layer}.{_BLOCK[name]}.weight"
        case [name, "weight"] if name in _OUTER:
            return f"{_OUTER[name]}.weight"
    raise UnknownLayout(f"the GGUF tensor {stored} is not one of Gemma 3: give a Hugging Face folder instead")


def _config(told: Mapping[str, Any]) -> dict[str, Any]:
    """The text model's configuration; the local layers' rotary base is Gemma 3's own, GGUF does not tell it."""
    ropes = {"full_attention": told["gemma3.rope.freq_base"], "sliding_attention": _LOCAL_ROPE_THETA}
    return {
        "architectures": ["Gemma3ForCausalLM"],
        "model_type": "gemma3_text",
        "hidden_size": told["gemma3.embedding_length"],
        "intermediate_size": told["gemma3.feed_forward_length"],
        "num_hidden_layers": told["gemma3.block_count"],
        "num_attention_heads": told["gemma3.attention.head_count"],
        "num_key_value_heads": told["gemma3.attention.head_count_kv"],
        "head_dim": told["gemma3.attention.key_length"],
        "query_pre_attn_scalar": told["gemma3.attention.key_length"],
        "sliding_window": told["gemma3.attention.sliding_window"],
        "vocab_size": len(told["tokenizer.ggml.tokens"]),
        "max_position_embeddings": told["gemma3.context_length"],
        "rms_norm_eps": told["gemma3.attention.layer_norm_rms_epsilon"],
        "rope_parameters": {kind: {"rope_type": "default", "rope_theta": theta} for kind, theta in ropes.items()},
        "bos_token_id": told["tokenizer.ggml.bos_token_id"],
        "eos_token_id": told["tokenizer.ggml.eos_token_id"],
        "pad_token_id": told["tokenizer.ggml.padding_token_id"],
        "tie_word_embeddings": True,
        "torch_dtype": "bfloat16",
    }


def spm_tokenizer(tokens: Sequence[str], scores: Sequence[float], is_control: Sequence[bool]) -> Tokenizer:
    """SentencePiece's BPE: the pair whose joined piece scores best is merged first; what is unknown falls to bytes.

    Every text begins with `<bos>`.
    """
    from tokenizers import AddedToken, Tokenizer, decoders, models, normalizers, processors  # noqa: PLC0415

    vocab = {token: index for index, token in enumerate(tokens)}
    merges = _merges(vocab, scores, is_control)
    tokenizer = Tokenizer(
        models.BPE(vocab=vocab, merges=merges, unk_token=tokens[vocab["<unk>"]], fuse_unk=True, byte_fallback=True)
    )
    tokenizer.normalizer = normalizers.Replace(" ", "▁")
    tokenizer.decoder = decoders.Sequence([decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse()])
    special = [
        AddedToken(t, special=True, normalized=False) for t, is_one in zip(tokens, is_control, strict=True) if is_one
    ]
    tokenizer.add_special_tokens(special)
    tokenizer.post_processor = processors.TemplateProcessing(
        single="<bos> $A", special_tokens=[("<bos>", vocab["<bos>"])]
    )
    return tokenizer


def _merges(vocab: Mapping[str, int], scores: Sequence[float], is_control: Sequence[bool]) -> list[tuple[str, str]]:
    """Every way to join two pieces into a third, by the third's score (best first), then the parts' place."""
    ordered = sorted((index for index, control in enumerate(is_control) if not control), key=lambda i: (-scores[i], i))
    pieces = list(vocab)
    merges: list[tuple[str, str]] = []
    for index in ordered:
        piece = pieces[index]
        splits = ((piece[:at], piece[at:]) for at in range(1, len(piece)))
        found = [(left, right) for left, right in splits if left in vocab and right in vocab]
        merges += sorted(found, key=lambda pair: (vocab[pair[0]], vocab[pair[1]]))
    return merges
