"""Small randomly initialised causal language models, saved as any Hugging Face folder is."""

from __future__ import annotations

from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers

END = "<end>"


def saved(folder, kind="llama", *, shard_size="1GB", appends_end=False, seed=0, **config):
    """A folder with a model of width 32 and a byte-level tokenizer whose token 0 ends a text; no padding token."""
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM, Qwen3Config, Qwen3ForCausalLM

    tokenizer = byte_tokenizer(appends_end=appends_end)
    shape = {
        "vocab_size": tokenizer.get_vocab_size(), "hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 3,
        "num_attention_heads": 4, "num_key_value_heads": 2, "head_dim": 8, "bos_token_id": None, "eos_token_id": 0,
        "pad_token_id": None, "initializer_range": 0.3,
    }  # fmt: skip
    config_of, model_of = {"llama": (LlamaConfig, LlamaForCausalLM), "qwen3": (Qwen3Config, Qwen3ForCausalLM)}[kind]
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        model_of(config_of(**shape | config)).save_pretrained(folder, max_shard_size=shard_size)
    tokenizer.save(str(folder / "tokenizer.json"))
    return folder


def byte_tokenizer(*, appends_end=False):
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    tokenizer.train_from_iterator([], trainers.BpeTrainer(initial_alphabet=alphabet, special_tokens=[END]))
    if appends_end:
        tokenizer.post_processor = processors.TemplateProcessing(single=f"$A {END}", special_tokens=[(END, 0)])
    return tokenizer
