import numpy as np
import pytest

from features.models import ensure_reasoner
from features.prompt import PREFIX, SLOT
from features.reasoner import open_reasoner, reasoner_id
from features.reasoner_settings import ReasonerSettings
from features.settings import Connections
from tests.features.test_reasoner_torch import by_transformers

pytestmark = pytest.mark.slow

NEEDS = ("where is my parcel", "my voucher is rejected at the checkout, why?", "refund", "I forgot my password")
PROMPTS = [f"{PREFIX}. Just now: wrote '{need}'.{SLOT}" for need in NEEDS]


def test_states_have_the_models_width_and_differ_by_need(reasoner):
    states = reasoner.embed(PROMPTS)
    assert states.shape == (4, reasoner.width) == (4, 576)
    assert states.dtype == np.float32
    assert len(np.unique(states, axis=0)) == 4


def test_a_prompt_means_the_same_alone_and_in_a_batch_in_any_order(reasoner):
    together = reasoner.embed(PROMPTS)
    alone = np.concatenate([reasoner.embed([prompt]) for prompt in PROMPTS])
    assert np.abs(together - alone).max() < 1e-4
    assert np.abs(together - reasoner.embed(PROMPTS[::-1])[::-1]).max() < 1e-4


def test_states_are_those_of_transformers_padded_left(reasoner):
    wanted = by_transformers(ensure_reasoner(Connections().cache), PROMPTS, "left")
    assert np.abs(reasoner.embed(PROMPTS) - wanted).max() < 1e-4


def test_an_endless_prompt_keeps_its_slot(reasoner):
    cut, again = reasoner.embed(["word " * 5000 + PROMPTS[0], "word " * 3000 + PROMPTS[0]])
    assert np.abs(cut - again).max() < 1e-4
    assert np.isfinite(cut).all()


def test_no_prompts_give_no_rows(reasoner):
    assert reasoner.embed([]).shape == (0, reasoner.width)


def test_the_base_id_is_known_without_loading_the_model(reasoner):
    assert reasoner_id(ensure_reasoner(Connections().cache)) == reasoner.base_id


def test_mode_g_writes_a_query_of_each_prompt():
    settings = ReasonerSettings(device="cpu", mode="G")
    reasoner = open_reasoner(ensure_reasoner(Connections().cache), settings)
    told = reasoner.explain(PROMPTS[:2])
    assert all(told)
    assert len(set(told)) == 2
    assert reasoner.embed(PROMPTS[:2]).shape == (2, 576)
