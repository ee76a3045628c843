"""One support intent: what a prompt may offer, to whom, and in which words."""

from __future__ import annotations

import hashlib
from collections.abc import Collection
from functools import cached_property
from typing import Annotated, Any, Literal, NamedTuple

from pydantic import BeforeValidator, Field, StringConstraints

from features.contract import Contract, Locale, Slug
from features.events import EventKind, OrderStatus

CANONICAL_LOCALE = "en"
"""The language of `title`, `description` and `examples`; the ranker knows no other."""

MAX_TITLE, MIN_EXAMPLES = 80, 3

FACT_NAMES: frozenset[str] = frozenset(
    {"order:any", "cart:nonempty"}
    | {f"order:{status}" for status in OrderStatus}
    | {f"recent:{kind}" for kind in EventKind if kind is not EventKind.OTHER}
)
"""Everything that an eligibility rule may ask of a shopper; `features.state.facts` answers in these words."""


def _one_line(text: Any) -> Any:
    return " ".join(text.split()) if isinstance(text, str) else text


_NO_CONTROLS = r"^[^\x00-\x1f\x7f]*$"
Title = Annotated[
    str, StringConstraints(min_length=1, max_length=MAX_TITLE, pattern=_NO_CONTROLS), BeforeValidator(_one_line)
]
Sentence = Annotated[
    str, StringConstraints(min_length=1, max_length=300, pattern=_NO_CONTROLS), BeforeValidator(_one_line)
]
Fact = Annotated[str, StringConstraints(pattern=r"^[a-z]+:[a-z_]+$", max_length=64)]


class Eligibility(Contract):
    """Which facts must hold of a shopper before the intent may be offered; nothing asked = everyone.

    A fact this version does not know never holds, so that a newer rule is obeyed by offering nothing.
    """

    needs_all: tuple[Fact, ...] = ()
    needs_any: tuple[Fact, ...] = ()

    def holds(self, facts: Collection[str]) -> bool:
        """Whether all of `needs_all`, and at least one of `needs_any` if there is any, are among `facts`.

        >>> rule = Eligibility(needs_any=("order:in_transit", "order:delayed"))
        >>> rule.holds({"order:any", "order:delayed"}), rule.holds({"order:any"}), Eligibility().holds(set())
        (True, False, True)
        """
        return all(fact in facts for fact in self.needs_all) and (
            not self.needs_any or any(fact in facts for fact in self.needs_any)
        )


class LocaleText(Contract):
    """What is displayed in a language other than the canonical one."""

    title: Title
    description: Sentence


class Display(NamedTuple):
    """The words to show, and the locale they are in."""

    title: str
    description: str
    locale: str


class Intent(Contract):
    """A question that the shop's support can answer, as the ranker and the page know it."""

    id: Slug
    family: Slug
    title: Title
    description: Sentence
    examples: tuple[Sentence, ...] = Field(min_length=MIN_EXAMPLES, max_length=20)
    eligibility: Eligibility = Eligibility()
    status: Literal["draft", "active", "disabled"] = "active"
    texts: dict[Locale, LocaleText] = Field(default={})

    @cached_property
    def canonical_text(self) -> str:
        """What is embedded: `title description example | example`; another locale's texts never enter it."""
        return f"{self.title} {self.description} {' | '.join(self.examples)}"

    @cached_property
    def content_hash(self) -> str:
        """The sha256 of `canonical_text`: equal hash, equal vectors."""
        return hashlib.sha256(self.canonical_text.encode()).hexdigest()

    def display(self, locale: str) -> Display:
        """The texts for `locale`, else for its language, else the canonical ones (es-MX -> es -> en)."""
        for candidate in (locale, locale.partition("-")[0]):
            if words := self.texts.get(candidate):
                return Display(words.title, words.description, candidate)
        return Display(self.title, self.description, CANONICAL_LOCALE)
