import numpy as np
import pytest

from features.models import ensure_reasoner
from features.prompt import SLOT
from features.reasoner import reasoner_id
from features.settings import Connections

pytestmark = pytest.mark.slow

NEEDS = ("where is my parcel", "my voucher is rejected at the checkout, why?", "refund", "I forgot my password")
PROMPTS = [f"A customer of an online shop. Just now: wrote '{need}'.{SLOT}" for need in NEEDS]


def cosines(a, b):
    return (a * b).sum(1) / np.linalg.norm(a, axis=1) / np.linalg.norm(b, axis=1)


def test_states_have_the_models_width_and_differ_by_need(reasoner):
    states = reasoner.embed(PROMPTS)
    assert states.shape == (4, reasoner.width) == (4, 576)
    assert states.dtype == np.float32
    assert len(np.unique(states, axis=0)) == 4


def test_rows_come_back_in_the_order_given(reasoner):
    assert np.array_equal(reasoner.embed(PROMPTS), reasoner.embed(PROMPTS[::-1])[::-1])


def test_a_prompt_means_the_same_alone_and_in_a_batch(reasoner):
    together = reasoner.embed(PROMPTS)
    alone = np.concatenate([reasoner.embed([prompt]) for prompt in PROMPTS])
    mean = together.mean(axis=0)
    assert cosines(together - mean, alone - mean).min() > 0.98


def test_an_endless_prompt_keeps_its_slot(reasoner):
    cut, again = reasoner.embed(["word " * 5000 + PROMPTS[0], "word " * 3000 + PROMPTS[0]])
    assert np.allclose(cut, again, atol=0.5)
    assert np.isfinite(cut).all()


def test_no_prompts_give_no_rows(reasoner):
    assert reasoner.embed([]).shape == (0, reasoner.width)


def test_the_base_id_is_known_without_loading_the_model(reasoner):
    assert reasoner_id(ensure_reasoner(Connections().cache)) == reasoner.base_id
