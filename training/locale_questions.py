"""Questions across languages: the intents with Spanish texts, asked and answered in English and in Spanish.

English questions are phrases that shoppers type, Spanish ones the Spanish titles. English answers are the canonical
texts, which ranking uses; Spanish ones are what is displayed. English to English is the control.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from features.intent import Intent
from features.knowledge import KnowledgeBase
from training.questions import Answer, Question, QuestionSet, answer_of, sampled, typed_prompt

TITLES = {
    "en_to_en": "English phrases to English texts",
    "es_to_en": "Spanish titles to English texts",
    "en_to_es": "English phrases to Spanish texts",
}

Phrases = Mapping[str, Sequence[str]]


def cross_locale(kb: KnowledgeBase, phrases: Phrases, most: int, seed: int) -> list[QuestionSet]:
    """A set for each of `TITLES`, about the same intents in the same order."""
    both = [
        intent for intent in kb.intents if intent.status == "active" and "es" in intent.texts and intent.id in phrases
    ]
    english = [_question(intent.id, phrases[intent.id][0], "en") for intent in both]
    spanish = [_question(intent.id, intent.texts["es"].title, "es") for intent in both]
    canonical, displayed = tuple(map(answer_of, both)), tuple(map(_displayed, both))
    pairs = {"en_to_en": (english, canonical), "es_to_en": (spanish, canonical), "en_to_es": (english, displayed)}
    return [
        QuestionSet(name, title, pairs[name][1], sampled(pairs[name][0], most, seed)) for name, title in TITLES.items()
    ]


def _question(intent_id: str, text: str, locale: str) -> Question:
    return Question(text, typed_prompt(text, locale), intent_id, intent_id)


def _displayed(intent: Intent) -> Answer:
    """The Spanish texts in the place of the English ones; there are no Spanish examples."""
    told = intent.texts["es"]
    shown = Intent.model_construct(
        id=intent.id, family=intent.family, title=told.title, description=told.description, examples=()
    )
    return answer_of(shown)
