"""Titles of goods are told from questions."""

import pytest

from features.goods import is_goods
from features.knowledge import load


def test_no_question_of_the_knowledge_base_passes_for_goods():
    titles = [intent.title for intent in load().intents]
    titles += [words.title for intent in load().intents for words in intent.texts.values()]
    assert [title for title in titles if is_goods(title)] == []


def test_no_title_that_names_a_family_of_questions_passes_for_goods():
    assert [family for family in load().families if is_goods(family.replace("_", " "))] == []


@pytest.mark.parametrize("title", ["trail running shoes", "Tent for two", "noise cancelling headphones", "USB-C hub 7"])
def test_goods_are_goods(title):
    assert is_goods(title)
