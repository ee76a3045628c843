"""Texts that speak to a model are told from those of shoppers, editors and catalogues."""

from pathlib import Path

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from features.goods import is_goods
from features.knowledge import load
from features.steering import _STEERING, is_steering
from features.untrusted import MAX_TEXT_BYTES, clean, visible
from training.words import load_phrases

ATTACKS = [
    attack
    for family in yaml.safe_load((Path(__file__).parents[1] / "shows" / "injections.yaml").read_text()).values()
    for attack in family
]
WORDS = st.lists(st.sampled_from(sorted({word for attack in ATTACKS for word in attack.split()})), max_size=12)


def test_no_text_of_the_knowledge_base_nor_of_shoppers_is_taken_for_an_attack():
    told = [phrase for said in load_phrases().values() for phrase in said]
    told += [text for intent in load().intents for text in (intent.title, intent.description, *intent.examples)]
    told += [words.title for intent in load().intents for words in intent.texts.values()]
    assert [text for text in told if is_steering(text)] == []


def test_no_question_of_the_knowledge_base_passes_for_goods():
    titles = [intent.title for intent in load().intents]
    titles += [words.title for intent in load().intents for words in intent.texts.values()]
    assert [title for title in titles if is_goods(title)] == []


@pytest.mark.parametrize("title", ["trail running shoes", "Tent for two", "noise cancelling headphones", "USB-C hub 7"])
def test_goods_are_goods(title):
    assert is_goods(title)


@given(WORDS)
@settings(deadline=None)
def test_whatever_a_pattern_finds_holds_one_of_its_stems(words):
    text = " ".join(words).lower()
    for stems, pattern in _STEERING:
        assert pattern.search(text) is None or any(stem in text for stem in stems)


@given(st.text(max_size=400), st.integers(8, 200))
@settings(deadline=None)
def test_a_clean_text_is_short_visible_and_without_structure(text, max_bytes):
    told = clean(text, max_bytes)
    assert len(told.encode()) <= max_bytes
    assert visible(told) == told
    assert not set(told) & set('":;<>{}|\\=#@')


@given(st.text(max_size=60))
@settings(deadline=None)
def test_marks_that_nobody_sees_change_nothing(text):
    hidden = "".join(f"{character}\u200b\u034f\ufe0f" for character in text)
    assert clean(hidden) == clean("".join(character for character in hidden if character not in "\u200b\u034f\ufe0f"))


def test_a_long_text_ends_with_a_whole_word():
    told = clean("parcel " * 100)
    assert set(told.split()) == {"parcel"}
    assert MAX_TEXT_BYTES - 8 < len(told) <= MAX_TEXT_BYTES


@pytest.mark.parametrize(
    "text",
    ["a-" * 999, "!" * 999 + "x", ",please" * 199 + "x", "1-a" * 499, "@" * 999, "a at " * 299, "(at)" * 299,
     "x" * 1999, "order no " * 199, "instruction " * 99, "hi " * 499, "#a" * 499, "[at].dot " * 199, "A1b" * 499,
     "dot at " * 199],
)  # fmt: skip
@pytest.mark.timeout(5)
def test_no_text_is_slow_to_clean(text):
    for end in ("", "1", "x", " "):
        clean(text + end)
