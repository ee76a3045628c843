"""Texts that speak to a model are told from those of shoppers, editors and catalogues."""

from pathlib import Path

import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from features.knowledge import load
from features.steering import _STEERING, is_steering
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


@given(WORDS)
@settings(deadline=None)
def test_whatever_a_pattern_finds_holds_one_of_its_stems(words):
    text = " ".join(words).lower()
    for stems, pattern in _STEERING:
        assert pattern.search(text) is None or any(stem in text for stem in stems)
