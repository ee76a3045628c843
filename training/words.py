"""What shoppers say in searches and chats: a fixed bank of texts, and how likely each is for every need.

A text about a need is one of its phrases as somebody types it, or of a sibling's for the `noise` of the cases. What is
said without regard to the need is half general (goods, "need help"), half a text about any intent at all, so that
at a semantic share of 0 the words vary as much as at 1 and tell nothing. The bank does not depend on a world's seed.

Real shoppers hardly ever type the same text twice. A bank is finite, so that a hash of a text could stand for its
meaning; therefore, if `Dials.new_words_from_ms` is set, every other phrase is kept until then and the others leave.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import mmh3
import numpy as np
import yaml

from features.intent import Intent
from training.choices import Choices
from training.dials import Dials
from training.shopping import ITEMS

PHRASES = Path(__file__).with_name("phrases.yaml")
GENERAL = (
    "need help", "hi, i have a question", "can somebody help me", "hello?", "is anybody there", "quick question",
    "not sure where to ask", "pls help", "i have a problem", "another question", "need some information", "hi",
)  # fmt: skip
SPANISH_SHARE = 0.5
"""How often a chat in Spanish is in the Spanish words of an intent that has some."""
_TYPED = 2
_GREETINGS = ("", "", "hi, ", "hello ", "hey ", "pls ", "question: ")
_ENDINGS = ("", "?", "??", " please", " thanks", " help")

Phrases = Mapping[str, Sequence[str]]


def load_phrases(path: Path = PHRASES) -> Phrases:
    """What shoppers type for each intent, {intent id: phrases}. Raises ValueError if the file is no such mapping."""
    told = yaml.safe_load(path.read_text())
    if not isinstance(told, dict) or not all(isinstance(said, list) and said for said in told.values()):
        raise ValueError(
            f"{path} is not a mapping of intent ids to lists of phrases; expected e.g. `track: [wheres it]`"
        )
    return {intent_id: [str(phrase) for phrase in said] for intent_id, said in told.items()}


@dataclass(frozen=True, eq=False)
class Wordings:
    """What is typed in one language at one time: into the search box, and into the chat."""

    searches: Choices
    chats: Choices


class Words:
    """The bank over N intents; an intent without phrases is asked in the words of its examples."""

    def __init__(self, intents: Sequence[Intent], phrases: Phrases, dials: Dials) -> None:
        self._intents, self._dials = intents, dials
        self._said = [tuple(phrases.get(i.id) or (example.lower() for example in i.examples)) for i in intents]
        families = [intent.family for intent in intents]
        member = np.array([[mine == theirs for theirs in families] for mine in families], np.float64)
        self._family = member / member.sum(axis=0)
        self._wordings: dict[tuple[str, int | None], Wordings] = {}

    def of(self, locale: str, at_ms: int) -> Wordings:
        """What shoppers of this language say at a time."""
        since_ms = self._dials.new_words_from_ms
        key = "es" if locale == "es" else "en", int(at_ms >= since_ms) if since_ms else None
        if key not in self._wordings:
            self._wordings[key] = self._worded(*key)
        return self._wordings[key]

    def _worded(self, language: str, half: int | None) -> Wordings:
        said = self._said if half is None else [own[half::2] or own for own in self._said]
        chats = [_even([text for phrase in own for text in typed(phrase)]) for own in said]
        if language == "es":
            chats = [_with_spanish(chat, intent) for chat, intent in zip(chats, self._intents, strict=True)]
        titles = [title for title, _ in ITEMS]
        return Wordings(self._choices([_even(own) for own in said], titles), self._choices(chats, GENERAL))

    def _choices(self, about: Sequence[Mapping[str, float]], general: Sequence[str]) -> Choices:
        texts = tuple(dict.fromkeys([*(text for own in about for text in own), *general]))
        place = {text: row for row, text in enumerate(texts)}
        own = np.zeros((len(texts), len(about)))
        for column, weights in enumerate(about):
            for text, weight in weights.items():
                own[place[text], column] += weight
        stray = 0.5 * own.mean(axis=1)
        stray[[place[text] for text in general]] += 0.5 / len(general)
        blurred = (1 - self._dials.noise) * own + self._dials.noise * (own @ self._family)
        return Choices(texts, blurred, stray, self._dials.semantic_share)


def typed(phrase: str) -> Iterator[str]:
    """A phrase as it is typed into a chat, in a few fixed ways: a greeting, an ending, sometimes a lost letter.

    >>> len({*typed("where is it")}), list(typed("where is it")) == list(typed("where is it"))
    (2, True)
    """
    for way in range(_TYPED):
        rng = np.random.default_rng([way, mmh3.hash(phrase, signed=False)])
        text = f"{_GREETINGS[rng.integers(len(_GREETINGS))]}{phrase}"
        if rng.random() < 0.2 and len(text) > 8:
            lost = int(rng.integers(3, len(text)))
            text = text[:lost] + text[lost + 1 :]
        yield f"{text.rstrip('?')}{_ENDINGS[rng.integers(len(_ENDINGS))]}"[:200]


def _even(texts: Sequence[str]) -> dict[str, float]:
    return {text: times / len(texts) for text, times in Counter(texts).items()}


def _with_spanish(chats: Mapping[str, float], intent: Intent) -> dict[str, float]:
    if (told := intent.texts.get("es")) is None:
        return dict(chats)
    weights = {text: (1 - SPANISH_SHARE) * weight for text, weight in chats.items()}
    return weights | {told.title.strip("¿?").lower(): SPANISH_SHARE}
