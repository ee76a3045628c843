"""A GGUF file of Gemma 3 becomes a folder that computes the same, with SentencePiece's own merges."""

import gguf
import numpy as np
import pytest
import torch
from tokenizers import Tokenizer
from transformers import AutoModelForCausalLM

from features.gguf_model import UnknownLayout
from tests.training.tiny_models import SMALL, tiny_gemma_model
from training.gemma_gguf import _BLOCK, _OUTER, convert_gemma, spm_tokenizer
from training.second_family import ensure_gemma

PIECES = ["<pad>", "<eos>", "<bos>", "<unk>", *(f"<0x{byte:02X}>" for byte in range(256))]
WORDS = ["▁", "a", "b", "c", "bc", "ab", "▁a", "▁ab"]
TOKENS = [*PIECES, *WORDS]
SCORES = [-1000.0] * len(PIECES) + [-9.0, -9.0, -9.0, -9.0, -1.0, -2.0, -3.0, -4.0]
KINDS = [3, 3, 3, 2, *[6] * 256, *[1] * len(WORDS)]


def _gguf_of(model, path, architecture="gemma3"):
    writer = gguf.GGUFWriter(str(path), architecture)
    writer.add_embedding_length(SMALL["hidden_size"])
    writer.add_feed_forward_length(SMALL["intermediate_size"])
    writer.add_block_count(SMALL["num_hidden_layers"])
    writer.add_head_count(SMALL["num_attention_heads"])
    writer.add_head_count_kv(1)
    writer.add_key_length(16)
    writer.add_sliding_window(512)
    writer.add_context_length(1024)
    writer.add_layer_norm_rms_eps(1e-6)
    writer.add_rope_freq_base(1e6)
    writer.add_tokenizer_model("llama")
    writer.add_token_list(TOKENS)
    writer.add_token_scores(SCORES)
    writer.add_token_types(KINDS)
    for name, token in (("bos", 2), ("eos", 1), ("pad", 0)):
        getattr(writer, f"add_{name}_token_id")(token)
    stored = {
        f"model.layers.{layer}.{ours}": f"blk.{layer}.{theirs}" for theirs, ours in _BLOCK.items() for layer in (0, 1)
    }
    stored |= {ours: theirs for theirs, ours in _OUTER.items()}
    for name, weights in model.state_dict().items():
        if name != "lm_head.weight":
            shift = 1 if name.endswith("norm.weight") else 0
            writer.add_tensor(f"{stored[name.removesuffix('.weight')]}.weight", weights.numpy() + np.float32(shift))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


def test_the_folder_computes_what_the_model_computed(tmp_path):
    model = tiny_gemma_model(vocab_size=len(TOKENS)).to(torch.bfloat16).float().eval()
    (tmp_path / "out").mkdir()
    convert_gemma(_gguf_of(model, tmp_path / "tiny.gguf"), tmp_path / "out")
    found = AutoModelForCausalLM.from_pretrained(tmp_path / "out", dtype=torch.float32).eval()
    ids = torch.tensor([[2, 260, 261, 262, 263]])
    with torch.inference_mode():
        torch.testing.assert_close(found(ids).logits, model(ids).logits, atol=2e-2, rtol=2e-2)
    tokens = Tokenizer.from_file(str(tmp_path / "out" / "tokenizer.json")).encode("a").tokens
    assert tokens == ["<bos>", "a"]


def test_another_architecture_is_refused(tmp_path):
    model = tiny_gemma_model(vocab_size=len(TOKENS))
    with pytest.raises(UnknownLayout, match="expected gemma3"):
        convert_gemma(_gguf_of(model, tmp_path / "tiny.gguf", "llama"), tmp_path)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("abc", ["<bos>", "a", "bc"]),
        (" ab", ["<bos>", "▁ab"]),
        ("é", ["<bos>", "<0xC3>", "<0xA9>"]),
    ],
)
def test_the_best_scored_piece_is_merged_first_and_the_unknown_falls_to_bytes(text, expected):
    tokenizer = spm_tokenizer(TOKENS, SCORES, [kind == 3 for kind in KINDS])
    assert tokenizer.encode(text).tokens == expected
    assert tokenizer.decode(tokenizer.encode(text).ids) == text


def test_nothing_is_fetched_while_the_terms_are_not_accepted(tmp_path):
    assert ensure_gemma(tmp_path, lambda *_: None, terms_accepted=False) is None
    assert list(tmp_path.iterdir()) == []
