"""Small random language models in folders of Hugging Face's layout, and the tokenizer they share."""

import json

import torch
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import Gemma3ForCausalLM, Gemma3TextConfig, LlamaConfig, LlamaForCausalLM

SMALL = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4}


def byte_tokenizer():
    """Every byte a token, then an end of text."""
    letters = sorted(pre_tokenizers.ByteLevel.alphabet())
    tokenizer = Tokenizer(models.BPE(vocab={letter: place for place, letter in enumerate(letters)}, merges=[]))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.add_special_tokens(["<end>"])
    return tokenizer


def saved(model, folder):
    """The model and the tokenizer in the folder."""
    folder.mkdir(parents=True, exist_ok=True)
    model.save_pretrained(folder)
    byte_tokenizer().save(str(folder / "tokenizer.json"))
    told = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(told | {"eos_token_id": 256}))
    return folder


def tiny_llama(folder):
    torch.manual_seed(3)
    config = LlamaConfig(vocab_size=257, num_key_value_heads=2, eos_token_id=256, tie_word_embeddings=True, **SMALL)
    return saved(LlamaForCausalLM(config), folder)


def tiny_gemma_model(vocab_size=257):
    """Two local layers and a global one, its norms not at their start."""
    torch.manual_seed(4)
    config = Gemma3TextConfig(
        vocab_size=vocab_size, num_key_value_heads=1, head_dim=16, query_pre_attn_scalar=16, sliding_window=512,
        layer_types=["sliding_attention", "full_attention"], eos_token_id=1, **SMALL,
    )  # fmt: skip
    model = Gemma3ForCausalLM(config)
    with torch.no_grad():
        for name, weights in model.named_parameters():
            if name.endswith("norm.weight"):
                weights.normal_(0, 0.2)
    return model


def tiny_gemma(folder):
    return saved(tiny_gemma_model(), folder)
