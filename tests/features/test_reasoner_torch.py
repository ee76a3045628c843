import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from features.greedy_query import QUERY_TOKENS, asking, quoted
from features.packed_reasoner import TooManyForCpu
from features.prompt import PREFIX, SLOT
from features.reasoner import open_reasoner
from features.reasoner_settings import ReasonerSettings
from tests.features.tiny_model import saved

TEXTS = st.lists(st.text(st.sampled_from("ab "), min_size=1, max_size=30), min_size=1, max_size=12)
FAST = settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
TOLERANCE = 1e-4


def prompts(words):
    return [f"{PREFIX}. {word}{SLOT}" for word in words]


def by_transformers(folder, texts, side):
    """The states of the last real tokens, in one batch padded on one side, as transformers computes them."""
    import torch
    from tokenizers import Tokenizer
    from transformers import AutoModel

    model = AutoModel.from_pretrained(folder, dtype=torch.float32).eval()
    rows = [encoding.ids for encoding in Tokenizer.from_file(str(folder / "tokenizer.json")).encode_batch(texts)]
    ids, mask = np.zeros((2, len(rows), max(map(len, rows))), np.int64)
    for place, row in enumerate(rows):
        where = slice(None, len(row)) if side == "right" else slice(ids.shape[1] - len(row), None)
        ids[place, where], mask[place, where] = row, 1
    positions = np.maximum(mask.cumsum(axis=1) - 1, 0)
    with torch.inference_mode():
        hidden = model(
            input_ids=torch.from_numpy(ids),
            attention_mask=torch.from_numpy(mask),
            position_ids=torch.from_numpy(positions),
        ).last_hidden_state
    last = [np.flatnonzero(row)[-1] for row in mask]
    return hidden[range(len(rows)), last].numpy()


@pytest.mark.parametrize("side", ["left", "right"])
@pytest.mark.parametrize("kind", ["llama", "qwen3"])
def test_states_are_those_of_transformers_whatever_its_padding_side(tiny, kind, side):
    texts = prompts(["where is it", "w", "where is my parcel, it is late", "no"])
    found = tiny(kind).embed(texts)
    assert np.abs(found - by_transformers(tiny.folder(kind), texts, side)).max() < TOLERANCE


@FAST
@given(words=TEXTS, order=st.randoms(use_true_random=False))
def test_a_prompt_means_the_same_alone_and_in_any_batch_in_any_order(tiny, words, order):
    texts = prompts(words)
    together, alone = tiny("llama").embed(texts), np.concatenate([tiny("llama").embed([text]) for text in texts])
    shuffled = order.sample(range(len(texts)), len(texts))
    again = tiny("llama").embed([texts[place] for place in shuffled])
    assert np.abs(together - alone).max() < TOLERANCE
    assert np.abs(again - together[shuffled]).max() < TOLERANCE


def test_many_trees_give_what_one_gives(tiny, monkeypatch):
    import features.reasoner_torch as backend

    texts = prompts([f"{n} and {n % 7}" for n in range(60)])
    whole = tiny("llama").embed(texts)
    monkeypatch.setitem(backend.TREE, "cpu", 90)
    assert np.abs(tiny.opened("llama").embed(texts) - whole).max() < TOLERANCE


def test_equal_prompts_have_equal_vectors_and_progress_counts_distinct_ones(tiny):
    told = []
    found = tiny("llama").embed(prompts(["a", "b", "a"]), lambda *step: told.append(step))
    assert np.array_equal(found[0], found[2])
    assert told[-1] == ("embed texts", 2, 2)


def test_mode_g_says_what_greedy_generation_says(tiny):
    import torch
    from transformers import AutoModelForCausalLM

    from features.prompt_tokens import PromptTokens

    texts = prompts(["where is it", "refund", "a longer one about a parcel"])
    model = AutoModelForCausalLM.from_pretrained(tiny.folder("llama"), dtype=torch.float32).eval()
    tokens = PromptTokens(tiny.folder("llama"))
    wanted = []
    for row in tokens.of(map(asking, texts)):
        made = model.generate(torch.tensor([row]), max_new_tokens=QUERY_TOKENS, do_sample=False, pad_token_id=0)
        wanted.append(quoted(tokens.text(made[0, len(row) :].tolist())))
    assert tiny("llama", mode="G").explain(texts) == wanted


def test_mode_g_is_another_space_with_other_states(tiny):
    texts = prompts(["where is it"])
    plain, generated = tiny("llama"), tiny("llama", mode="G")
    assert generated.base_id != plain.base_id
    assert np.abs(generated.embed(texts) - plain.embed(texts)).max() > 1e-2


def test_mode_g_on_a_cpu_is_for_samples(tiny):
    with pytest.raises(TooManyForCpu, match="expected at most 300"):
        tiny("llama", mode="G").embed(prompts(map(str, range(301))))


def test_mode_p_has_nothing_to_explain(tiny):
    with pytest.raises(RuntimeError, match="RGALIGN_REASONER_MODE=G"):
        tiny("llama").explain(["a"])


def test_a_folder_in_shards_with_tied_embeddings_and_no_padding_token_works(tmp_path):
    folder = saved(tmp_path / "shards", "qwen3", shard_size="20KB", tie_word_embeddings=True, appends_end=True)
    assert len(list(folder.glob("model-*.safetensors"))) > 2
    reasoner = open_reasoner(folder, ReasonerSettings(device="cpu", mode="G", cache=tmp_path))
    assert reasoner.provider == "torch fp32 cpu"
    assert reasoner.embed(prompts(["a", "b"])).shape == (2, reasoner.width) == (2, 32)
