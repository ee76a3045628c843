"""What a user did last, as a short, redacted prompt for the reasoner, and the hash that says "nothing changed".

    PREFIX[, language xx]. <when>: <the newest telling happening>.SLOT

A prompt tells one thing: the newest order state, failure, deed, help page, search or typed text, the item that it
names, and how long ago in buckets (`RECENCY`). Everything else that is known of the user stands in the ranker's
feature row, for which nobody has to reason: a prompt of all that happened is another one with every event, and no two
users share it, while a happening is shared by all whom it befalls (README: tokens and fresh vectors of both).
Views of pages, items and carts tell nothing and never refresh. The text is a function of that meaning alone and the
hash is the text's: equal meaning is equal text, and equal text is one cache entry, whoever it is of. The latent query
is pooled at `SLOT` (algorithm.md 2.1).
"""

from __future__ import annotations

import hashlib
from functools import lru_cache
from typing import NamedTuple

from features.canonical import ShopperEvent
from features.contract import Locale
from features.events import EventKind
from features.goods import is_goods
from features.intent import Intent
from features.state import Failure, UserState, by_time
from features.untrusted import MAX_TEXT_BYTES, clean
from features.wording import DEEDS, FAILURES, NAMING_ITEMS, order_words

PREFIX = "Name the help topic that a customer of an online shop needs"
"""The instruction with which every prompt begins, a user's and an intent's alike: its keys and values can be reused.

What follows begins with a full stop or a comma: byte-level tokenizers part there, so that the first tokens are equal.
"""

SLOT = ' The topic of the question of this customer, in one word: "'
"""How every prompt ends, a user's and an intent's alike."""

MAX_PROMPT_TOKENS = 512
"""No prompt has more, whatever the state holds: it has at most as many bytes of UTF-8, and each token of a byte-level
(or byte-fallback) tokenizer covers at least one. A user's quotes are capped; of an intent whole parts are dropped."""

RECENCY: tuple[tuple[int, str], ...] = (
    (5 * 60_000, "Just now"),
    (3_600_000, "In the last hour"),
    (86_400_000, "Today"),
)
"""Age limits in ms, and how a prompt says them. What is older is not told, but for the newest order: undated."""

FORM = "rgalign prompt 3"
"""Names this wording; the reasoner's base_id holds it, so that another wording is another space."""

_ORDERED, _DEED, _FAILED, _HELP, _SAID = range(5)
"""What may have happened; of two things at the same time the later in this line is told."""
_WHAT_BYTES, _WHY_BYTES, _TITLE_BYTES, _SEARCH_BYTES, _DESCRIPTION_BYTES = 32, 48, 48, 96, 160
_INTENT_EXAMPLES = 2
_QUIET = frozenset({EventKind.PAGE_VIEWED, EventKind.PRODUCT_VIEWED, EventKind.CART_UPDATED, EventKind.OTHER})

_Happened = tuple[int, int, str, tuple[str, ...]]
"""When in ms, one of the kinds above, our words, and quotes, which are untrusted."""


class Prompt(NamedTuple):
    """A prompt, at most `MAX_PROMPT_TOKENS` long and ending in `SLOT`, and its `state_hash`."""

    text: str
    hash: str


def render(state: UserState, now_ms: int, locale: Locale | None = None) -> str:
    """The text of `prompt_of`."""
    return prompt_of(state, now_ms, locale).text


def prompt_of(state: UserState, now_ms: int, locale: Locale | None = None) -> Prompt:
    """The prompt for a user as they stand at `now_ms`. `locale` overrides the state's own; English is not mentioned.

    A happening of whose quotes nothing may be told gives way to the one before it.
    """
    language = (locale or state.locale or "en")[:2]
    for at_ms, kind, words, quotes in sorted(_happenings(state), reverse=True):
        when = _when(now_ms - at_ms)
        if (when or kind == _ORDERED) and (phrase := _phrase(kind, words, quotes)):
            return _worded(language, f"{when}: {phrase}" if when else f"{phrase[0].upper()}{phrase[1:]}")
    return _worded(language, "")


def is_telling(event: ShopperEvent) -> bool:
    """Whether an event can change what a prompt means: views of pages and items, and the cart, cannot without words."""
    return event.kind not in _QUIET or bool(event.data.query or event.data.topic or event.data.text)


def intent_prompt(intent: Intent) -> str:
    """The intent's side of the same slot: its canonical title, description and first examples."""
    title = clean(intent.title)
    told = [f"{RECENCY[0][1]}: wrote '{title}'" if title else "", clean(intent.description, _DESCRIPTION_BYTES)]
    told += [" ".join(filter(None, map(clean, intent.examples[:_INTENT_EXAMPLES])))]
    parts = [PREFIX, *filter(None, told)]
    while len((text := _text(parts)).encode()) > MAX_PROMPT_TOKENS:
        del parts[-1]
    return text


def state_hash(prompt: str) -> str:
    """The sha256 of the prompt, in hex: equal meaning, equal hash."""
    return hashlib.sha256(prompt.encode()).hexdigest()


def _happenings(state: UserState) -> list[_Happened]:
    """The newest happening of each kind."""
    tallies = state.tallies
    found: list[_Happened] = [
        (tallies[kind].last_ms, _DEED, DEEDS[kind], _item(state, tallies[kind].last_ms))
        for kind in DEEDS
        if kind in tallies
    ]
    if state.orders:
        order = max(state.orders.items(), key=by_time)[1]
        found.append((order.at_ms, _ORDERED, order_words(order.status, order.delay_days), _item(state, order.at_ms)))
    if state.failures:
        name, failure = max(state.failures.items(), key=_failed_at)
        found.append((failure.at_ms, _FAILED, FAILURES.get(name, "something failed"), (failure.what, failure.error)))
    if state.last_help_topic:
        found.append((state.last_help_ms, _HELP, "read help on", (state.last_help_topic,)))
    if state.last_search:
        found.append((state.last_search_ms, _SAID, "searched", (state.last_search,)))
    if state.last_text:
        found.append((state.last_text_ms, _SAID, "wrote", (state.last_text,)))
    return found


def _item(state: UserState, at_ms: int) -> tuple[str, ...]:
    """The item that the event of that moment named, where its kind names one."""
    for event in state.recent:
        if event.at_ms <= at_ms:
            return (event.detail,) if event.at_ms == at_ms and event.detail and event.kind in NAMING_ITEMS else ()
    return ()


def _when(age_ms: int) -> str:
    """How a prompt says an age; the future is just now, and nothing is said of what is too old to be told."""
    return next((words for limit_ms, words in RECENCY if age_ms < limit_ms), "")


def _failed_at(item: tuple[str, Failure]) -> tuple[int, str]:
    return item[1].at_ms, item[0]


@lru_cache(maxsize=8192)
def _worded(language: str, told: str) -> Prompt:
    beginning = PREFIX if language == "en" else f"{PREFIX}, language {language}"
    text = _text([beginning, told] if told else [beginning])
    return Prompt(text, state_hash(text))


def _text(sentences: list[str]) -> str:
    return f"{'. '.join(sentences)}.{SLOT}"


@lru_cache(maxsize=8192)
def _phrase(kind: int, words: str, quotes: tuple[str, ...]) -> str:
    """A happening in words; nothing where it tells nothing without its quote and none may be told."""
    if kind in {_HELP, _SAID}:
        quote = clean(quotes[0], MAX_TEXT_BYTES if words == "wrote" else _SEARCH_BYTES)
        return f"{words} '{quote}'" if quote else ""
    if kind == _FAILED:
        why = ", ".join(filter(None, map(clean, quotes, (_WHAT_BYTES, _WHY_BYTES))))
        return f"{words} ({why})" if why else words
    title = _title(quotes[0]) if quotes else ""
    return f"{words} ('{title}')" if title else words


def _title(text: str) -> str:
    """An item's title as it may be quoted, or nothing."""
    title = clean(text, _TITLE_BYTES) if is_goods(text) else ""
    return "" if "[" in title else title
