"""One run over a tree of prompts pools as a run a prompt and pooling would."""

import numpy as np
import pytest
import torch
from transformers import AutoModel

from features.prompt import SLOT
from features.prompt_tokens import PromptTokens
from tests.training.tiny_models import tiny_gemma, tiny_llama
from training.pooled_states import POOLINGS, PooledStates, pooled_id, split

PROMPTS = [f"A customer of an online shop. Just now: wrote '{words}'.{SLOT}" for words in ("hi", "where is it?", "é")]


@pytest.fixture(scope="module", params=[tiny_llama, tiny_gemma], ids=["llama", "gemma"])
def folder(request, tmp_path_factory):
    return request.param(tmp_path_factory.mktemp("model") / "tiny")


def _alone(folder, prompt):
    """Every pooling by plain runs of one prompt each."""
    model, tokens = AutoModel.from_pretrained(folder, dtype=torch.float32).eval(), PromptTokens(folder)
    (whole,), (body,) = tokens.of([prompt]), tokens.of([prompt.removesuffix(SLOT)])
    with torch.inference_mode():
        states, ended, body_ended = (
            model(torch.tensor([ids])).last_hidden_state[0].numpy()
            for ids in (whole, (*whole, tokens.end), (*body, tokens.end))
        )
    found = {"slot": states[-1], "mean": states.mean(axis=0), "text_end": states[len(body) - 1]}
    return found | {"eos": body_ended[-1], "slot_eos": ended[-1]}


def test_every_pooling_is_what_a_plain_run_gives(folder):
    found = split(PooledStates(folder).embed(PROMPTS))
    for row, prompt in enumerate(PROMPTS):
        for pooling, state in _alone(folder, prompt).items():
            np.testing.assert_allclose(found[pooling][row], state, atol=1e-4, err_msg=pooling)


def test_a_prompt_is_pooled_alike_alone_and_in_any_company(folder):
    encoder = PooledStates(folder)
    together = encoder.embed(PROMPTS)
    for row, prompt in enumerate(PROMPTS):
        np.testing.assert_allclose(encoder.embed([prompt])[0], together[row], atol=1e-4)
    np.testing.assert_allclose(encoder.embed(PROMPTS[::-1])[::-1], together, atol=1e-4)


def test_a_text_without_the_slot_is_refused(folder):
    with pytest.raises(ValueError, match="expected the slot"):
        PooledStates(folder).embed(["A customer."])


def test_width_and_name_are_known_without_a_run(folder):
    encoder = PooledStates(folder)
    assert (encoder.width, encoder.base_id) == (len(POOLINGS) * 32, pooled_id(folder))
