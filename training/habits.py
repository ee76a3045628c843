"""What shoppers with and without a need do: which event comes next, and what it tells.

Everything here is a `Choices`, so that what shoppers draw from is what a filter weighs by. Pages are classes, not
words: they depend on the need at any semantic share. Error texts, payment methods, account changes, goods and help
topics are words: for `semantic_share x CLUE` of the cases they are those typical of the need.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from features.contract import to_ms
from features.events import EventKind, PageClass, UserEvent
from features.intent import Intent
from training import shopping
from training.choices import F64, Choices
from training.dials import Dials
from training.words import Phrases, Wordings, Words

CLUE = 0.7
OUTAGE_FACTOR = 6.0
"""How much more often the failure of an outage happens on its day."""
FAILURES = (EventKind.PAYMENT_FAILED, EventKind.VOUCHER_REJECTED, EventKind.SIGN_IN_FAILED)
_K, _P = EventKind, PageClass
_ANY_TIME: Mapping[EventKind, float] = {
    _K.PAYMENT_FAILED: 0.03, _K.VOUCHER_REJECTED: 0.03, _K.SIGN_IN_FAILED: 0.025, _K.ACCOUNT_CHANGED: 0.015,
    _K.CART_UPDATED: 0.08, _K.CHECKOUT_STARTED: 0.05,
}  # fmt: skip
"""What happens with and without a need alike."""
_IDLE: Mapping[EventKind, float] = {**_ANY_TIME,
    _K.PAGE_VIEWED: 0.36, _K.PRODUCT_VIEWED: 0.24, _K.SEARCHED: 0.11, _K.HELP_PAGE_OPENED: 0.04, _K.CHAT_OPENED: 0.02,
}  # fmt: skip
_NEEDY: Mapping[EventKind, float] = {**_ANY_TIME,
    _K.PAGE_VIEWED: 0.32, _K.PRODUCT_VIEWED: 0.06, _K.SEARCHED: 0.14, _K.HELP_PAGE_OPENED: 0.13, _K.CHAT_OPENED: 0.12,
}  # fmt: skip
_IDLE_PAGES: Mapping[PageClass, float] = {
    _P.HOME: 0.22, _P.CATEGORY: 0.26, _P.PRODUCT: 0.1, _P.CART: 0.08, _P.CHECKOUT: 0.06, _P.ORDER: 0.12,
    _P.RETURNS: 0.04, _P.ACCOUNT: 0.08, _P.HELP: 0.04,
}  # fmt: skip
_CATEGORY = dict(shopping.ITEMS)
_HOME_PAGE, _HELP_PAGE = 0.5, 0.2
"""How often somebody with a need looks at the page it belongs to, and at the help page; else at any."""


class Habits:
    """The habits of shoppers with one of N needs, or none."""

    def __init__(self, intents: Sequence[Intent], phrases: Phrases, dials: Dials) -> None:
        self._words = Words(intents, phrases, dials)
        self._share = dials.semantic_share * CLUE
        self._moves = {failing: _moves(failing, len(intents)) for failing in (None, *FAILURES)}
        pages, idle = tuple(_IDLE_PAGES), np.array([*_IDLE_PAGES.values()])
        self._pages = Choices(pages, np.array([[*_pages(intent).values()] for intent in intents]).T, idle)
        self._told = self._tables(intents)
        self._weighed: dict[tuple[Any, ...], F64] = {}

    def _tables(self, intents: Sequence[Intent]) -> dict[tuple[EventKind, str], Choices]:
        """The words of events other than searches and chats."""
        tables = {(kind, "error"): self._typical(shopping.ERRORS[kind], intents) for kind in FAILURES}
        tables[_K.PAYMENT_FAILED, "method"] = self._typical(shopping.METHODS, intents)
        tables[_K.ACCOUNT_CHANGED, "change"] = self._typical(shopping.CHANGES, intents)
        tables[_K.PRODUCT_VIEWED, "item_title"] = self._typical([title for title, _ in shopping.ITEMS], intents)
        topics = [*dict.fromkeys(intent.family.replace("_", " ") for intent in intents)]
        own = np.array([[topic == i.family.replace("_", " ") for i in intents] for topic in (*topics, "help centre")])
        stray = np.array([1.0] * len(topics) + [float(len(topics))])
        tables[_K.HELP_PAGE_OPENED, "topic"] = Choices((*topics, "help centre"), own * 1.0, stray, self._share)
        return tables

    def _typical(self, options: Sequence[str], intents: Sequence[Intent]) -> Choices:
        best = [shopping.typical(options, intent) for intent in intents]
        own = np.array([[told == option for told in best] for option in options], np.float64)
        return Choices(options, own, np.ones(len(options)), self._share)

    def move(self, need: int, failing: EventKind | None, rng: np.random.Generator) -> EventKind:
        """What happens next to somebody with this need on a day on which something `failing` fails (None = nothing)."""
        return EventKind(self._moves[failing].draw(need, rng))

    def move_likelihood(self, kind: EventKind, failing: EventKind | None) -> F64:
        """The chance of that event for every need, f64[N + 1]."""
        return self._moves[failing].likelihood(kind)

    def told(self, kind: EventKind, need: int, locale: str, at_ms: int, rng: np.random.Generator) -> dict[str, Any]:
        """An event's data as somebody with this need makes it."""
        _, data = shopping.something(kind, "", rng)
        for field, choices in self._choices_of(kind, self._words.of(locale, at_ms)):
            data[field] = choices.draw(need, rng)
        if kind is EventKind.PRODUCT_VIEWED:
            data["category"] = _CATEGORY[data["item_title"]]
        return data

    def told_likelihood(self, event: UserEvent) -> F64:
        """The chance of an event's data for every need, f64[N + 1], given that the event is of its kind."""
        words, kind = self._words.of(event.locale, to_ms(event.time)), event.kind
        pairs = [(choices, getattr(event.data, field)) for field, choices in self._choices_of(kind, words)]
        key = kind, words, *(told for _, told in pairs)
        if key not in self._weighed:
            parts = [choices.likelihood(told) for choices, told in pairs]
            self._weighed[key] = np.prod(parts, axis=0) if parts else np.ones(1)
        return self._weighed[key]

    def chats(self, locale: str, at_ms: int) -> Choices:
        """What is typed into a chat, or below a slate."""
        return self._words.of(locale, at_ms).chats

    def _choices_of(self, kind: EventKind, words: Wordings) -> list[tuple[str, Choices]]:
        match kind:
            case EventKind.PAGE_VIEWED:
                return [("page", self._pages)]
            case EventKind.SEARCHED:
                return [("query", words.searches)]
            case EventKind.CHAT_OPENED:
                return [("text", words.chats)]
        return [(field, choices) for (told, field), choices in self._told.items() if told is kind]


def _moves(failing: EventKind | None, needs: int) -> Choices:
    often = np.array([OUTAGE_FACTOR if kind is failing else 1.0 for kind in _IDLE])
    needy, idle = (np.array([usual[kind] for kind in _IDLE]) * often for usual in (_NEEDY, _IDLE))
    return Choices(tuple(_IDLE), np.tile(needy[:, None], needs), idle)


def _pages(intent: Intent) -> dict[PageClass, float]:
    weights = {page: (1 - _HOME_PAGE - _HELP_PAGE) * share for page, share in _IDLE_PAGES.items()}
    weights[shopping.page_of(intent)] += _HOME_PAGE
    weights[PageClass.HELP] += _HELP_PAGE
    return weights
