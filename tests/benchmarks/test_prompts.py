"""The texts of the reasoner's race, with a tokenizer of whole words."""

from __future__ import annotations

import numpy as np
import pytest
from tokenizers import Tokenizer, pre_tokenizers
from tokenizers.models import WordLevel

from features.prompt import PREFIX, SLOT
from tests.benchmarks.prompts import LONGEST_TOKENS, MEDIAN_TOKENS, Lengths, mixed
from tests.benchmarks.reasoner_speed import least_cosine


@pytest.fixture
def lengths(tmp_path):
    told = [f"{PREFIX}. Today: wrote '{'need help with parcel ' * size}'.{SLOT}" for size in range(1, 40)]
    words = {word for text in told for word in text.split()} | {f"{PREFIX}.".split()[-1], "[UNK]"}
    tokenizer = Tokenizer(WordLevel({word: place for place, word in enumerate(sorted(words))}, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    tokenizer.save(str(tmp_path / "tokenizer.json"))
    return Lengths(tmp_path), told


def test_lengths_of_the_mix_are_log_normal_and_none_is_cut(lengths):
    count, told = lengths
    tokens = [count(text) for text in mixed(told, 400, 1, count)]
    assert max(tokens) <= LONGEST_TOKENS + 2
    assert abs(np.median(tokens) - MEDIAN_TOKENS) < 8
    assert np.mean(tokens) > np.median(tokens) + 5


def test_a_mixed_prompt_begins_and_ends_like_a_real_one_and_depends_on_the_seed_alone(lengths):
    count, told = lengths
    one = mixed(told, 20, 7, count)
    assert all(text.startswith(f"{PREFIX}.") and text.endswith(SLOT) for text in one)
    assert one == mixed(told, 20, 7, count) != mixed(told, 20, 8, count)


def test_the_least_cosine_is_that_of_the_worst_row():
    one = np.random.default_rng(1).standard_normal((5, 8))
    other = one.copy()
    other[3] = -other[3]
    assert least_cosine(one, 3 * one) == pytest.approx(1.0)
    assert least_cosine(one, other) == pytest.approx(-1.0)
