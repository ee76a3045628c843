"""The project's own knowledge base and the phrases that go with it keep their promises."""

from __future__ import annotations

import time
from collections import Counter
from functools import cache
from itertools import combinations

import pytest
import yaml

from features.knowledge import FACT_NAMES, OWN_FOLDER, KnowledgeBase, load


@cache
def base() -> KnowledgeBase:
    return load()


@cache
def phrases() -> dict[str, list[str]]:
    path = OWN_FOLDER.parents[1] / "training" / "phrases.yaml"
    return dict(yaml.load(path.read_text(), Loader=yaml.CSafeLoader))


def plain(text: str) -> str:
    return "".join(letter for letter in text.casefold() if letter.isalnum() or letter == " ").strip()


def words(text: str) -> frozenset[str]:
    return frozenset(plain(text).split())


def test_there_are_at_least_160_intents_in_13_families():
    assert len(base().intents) >= 160
    assert len(base().families) >= 13
    assert min(Counter(intent.family for intent in base().intents).values()) >= 8


def test_at_least_60_intents_speak_spanish():
    spanish = [intent.texts["es"] for intent in base().intents if "es" in intent.texts]
    assert len(spanish) >= 60
    assert all("¿" in text.title and text.title.endswith("?") and text.description.endswith(".") for text in spanish)


def test_a_file_holds_the_family_it_is_named_after():
    assert {path.stem for path in OWN_FOLDER.glob("*.yaml")} == set(base().families)


def test_every_title_is_a_question_and_every_description_one_sentence():
    for intent in base().intents:
        assert intent.title.endswith("?"), intent.id
        assert intent.description.endswith("."), intent.id
        assert ". " not in intent.description, intent.id


def test_no_two_intents_share_a_text():
    said = Counter(plain(text) for intent in base().intents for text in (intent.title, *intent.examples))
    assert [text for text, count in said.items() if count > 1] == []


def test_no_two_titles_are_nearly_the_same():
    titles = {intent.id: words(intent.title) for intent in base().intents}
    near = [
        (left, right)
        for left, right in combinations(titles, 2)
        if len(titles[left] & titles[right]) > 0.7 * len(titles[left] | titles[right])
    ]
    assert near == []


def test_forty_intents_are_open_to_everyone_and_every_other_fact_opens_or_keeps_them():
    open_to_all = base().eligible(frozenset())
    assert len(open_to_all) >= 40
    assert all(len(base().eligible({fact})) >= len(open_to_all) for fact in FACT_NAMES)


def test_every_intent_can_become_eligible():
    assert base().eligible(FACT_NAMES) == base().intents


def test_loading_takes_less_than_half_a_second():
    started = time.process_time()
    load()
    assert time.process_time() - started < 0.5


def test_phrases_stand_for_exactly_the_intents():
    assert set(phrases()) == set(base().by_id)


def test_phrases_are_short_and_each_belongs_to_one_intent():
    said = [text for texts in phrases().values() for text in texts]
    assert max(Counter(said).values()) == 1
    assert all(2 <= len(text.split()) <= 8 for text in said)
    assert all(3 <= len(texts) <= 4 for texts in phrases().values())


def test_no_phrase_repeats_the_knowledge_base():
    told = {plain(text) for intent in base().intents for text in (intent.title, intent.description, *intent.examples)}
    assert [text for texts in phrases().values() for text in texts if plain(text) in told] == []


@pytest.mark.parametrize("locale", ["es-MX", "de-DE", "en"])
def test_every_intent_has_words_for_every_locale(locale: str):
    for intent in base().intents:
        shown = intent.display(locale)
        assert shown.title
        assert shown.locale == ("es" if locale == "es-MX" and intent.texts else "en")
