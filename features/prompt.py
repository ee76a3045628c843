"""A user's state as a short, redacted prompt for the reasoner, and the state hash that says "nothing changed".

    PREFIX[, language xx]. <order state>. <when>: <what happened>. <when>: <what was searched or written>. SLOT

A change of meaning is another order state, failure, deed, search, help page or typed text, or the class of the page on
which that happened; time counts in buckets (`RECENCY`). The text is a function of that meaning alone and the hash is
the text's: equal meaning is equal text, and equal text is one cache entry, whoever it is of. Views of pages and items
add nothing until something telling follows them: alone, they never refresh (20 events later the state has forgotten
where that was, and so does the prompt). What was told more than `VISIT_MS` before
the newest happening is left out, but for the newest order. The latent query is pooled at `SLOT` (algorithm.md 2.1).
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from functools import lru_cache
from itertools import groupby
from typing import NamedTuple

from features.canonical import ShopperEvent
from features.contract import Locale
from features.events import EventKind
from features.goods import is_goods
from features.intent import Intent
from features.state import SESSION_GAP_MS, Failure, Recent, UserState, by_time
from features.untrusted import MAX_TEXT_BYTES, clean
from features.wording import DEEDS, FAILURES, GOODS, PAGES, order_words

PREFIX = "Name the help topic that a customer of an online shop needs"
"""The instruction with which every prompt begins, a user's and an intent's alike: its keys and values can be reused.

What follows begins with a full stop or a comma: byte-level tokenizers part there, so that the first tokens are equal.
"""

SLOT = ' The topic of the question of this customer, in one word: "'
"""How every prompt ends, a user's and an intent's alike."""

MAX_PROMPT_TOKENS = 512
"""No prompt has more, whatever the state holds: it has at most as many bytes of UTF-8, and each token of a byte-level
(or byte-fallback) tokenizer covers at least one. Whole parts are dropped until it fits, the oldest first."""

RECENCY: tuple[tuple[int, str], ...] = (
    (5 * 60_000, "Just now"),
    (3_600_000, "In the last hour"),
    (86_400_000, "Today"),
)
"""Age limits in ms, and how a prompt says them. What is older is left out, but for the newest order."""

VISIT_MS = SESSION_GAP_MS
"""A visit speaks for itself: what was told longer before the newest happening belongs to another one."""

FORM = "rgalign prompt 2"
"""Names this wording; the reasoner's base_id holds it, so that another wording is another space."""

_DEED, _GOODS, _PAGE, _FAILED, _HELP, _SAID = range(6)
_WHAT_BYTES, _WHY_BYTES, _TITLE_BYTES, _SEARCH_BYTES, _DESCRIPTION_BYTES = 32, 48, 48, 96, 160
_QUOTED = frozenset({_GOODS, _HELP, _SAID})
"""Kinds that tell nothing without their quote."""
_INTENT_EXAMPLES = 2
_QUIET = frozenset({EventKind.PAGE_VIEWED, EventKind.PRODUCT_VIEWED, EventKind.CART_UPDATED, EventKind.OTHER})


class _Told(NamedTuple):
    """Something that happened: `bucket` indexes RECENCY, `kind` is a number above, the quotes are untrusted."""

    bucket: int
    kind: int
    words: str
    quotes: tuple[str, ...] = ()


_Part = tuple[int, int, str, tuple[str, ...]]
"""The fields of _Told: a plain tuple, since every event makes some."""
_Happened = tuple[int, int, str, tuple[str, ...]]
"""As _Part, with the time in ms for the bucket."""


class Prompt(NamedTuple):
    """A prompt, at most `MAX_PROMPT_TOKENS` long and ending in `SLOT`, and its `state_hash`."""

    text: str
    hash: str


def render(state: UserState, now_ms: int, locale: Locale | None = None) -> str:
    """The text of `prompt_of`."""
    return prompt_of(state, now_ms, locale).text


def prompt_of(state: UserState, now_ms: int, locale: Locale | None = None) -> Prompt:
    """The prompt for a user as they stand at `now_ms`. `locale` overrides the state's own; English is not mentioned.

    What was worded lately is remembered: an event that changes no meaning costs a look at the state alone.
    """
    language = (locale or state.locale or "en")[:2]
    if not state.orders:
        return _worded(language, "", _told(state, 0, now_ms))
    order = max(state.orders.items(), key=by_time)[1]
    return _worded(language, order_words(order.status, order.delay_days), _told(state, order.at_ms, now_ms))


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


def _told(state: UserState, ordered_ms: int, now_ms: int) -> tuple[_Part, ...]:
    """What happened within `VISIT_MS` before the newest happening, and not before the last bucket.

    `ordered_ms` is when the newest order was heard of, 0 for never.
    """
    happened = _happenings(state)
    said_ms = max(happened)[0] if happened else ordered_ms
    since_ms = max(said_ms - VISIT_MS, now_ms - RECENCY[-1][0] + 1)
    if state.recent:
        happened += _around(state.recent, since_ms, max(said_ms, ordered_ms))
    return tuple([(_bucket(now_ms - at), kind, words, said) for at, kind, words, said in happened if at >= since_ms])


def _happenings(state: UserState) -> list[_Happened]:
    """The newest happening of each kind.

    A search before the last typed text is left out: the text says it again, and better.
    """
    tallies = state.tallies
    found: list[_Happened] = [(tallies[kind].last_ms, _DEED, DEEDS[kind], ()) for kind in DEEDS if kind in tallies]
    if state.failures:
        name, failure = max(state.failures.items(), key=_failed_at)
        found.append((failure.at_ms, _FAILED, FAILURES.get(name, "something failed"), (failure.what, failure.error)))
    if state.last_help_topic:
        found.append((state.last_help_ms, _HELP, "read help on", (state.last_help_topic,)))
    if state.last_search and state.last_search_ms >= state.last_text_ms:
        found.append((state.last_search_ms, _SAID, "searched", (state.last_search,)))
    if state.last_text:
        found.append((state.last_text_ms, _SAID, "wrote", (state.last_text,)))
    return found


def _around(recent: list[Recent], since_ms: int, newest_ms: int) -> list[_Happened]:
    """The page on which the newest happening took place, and the item that a telling event named last."""
    page = ""
    goods: list[_Happened] = []
    for event in recent:
        if event.at_ms < since_ms:
            break
        if event.at_ms > newest_ms:
            continue
        if not page and event.page:
            page = PAGES.get(event.page, "")
        if event.detail and event.kind in GOODS and not goods:
            goods = [(event.at_ms, _GOODS, GOODS[event.kind], (event.detail,))]
    return [(newest_ms, _PAGE, page, ()), *goods] if page else goods


def _bucket(age_ms: int) -> int:
    """Which of RECENCY an age falls into; the future is just now, and what is older is in the last."""
    for bucket, (limit_ms, _) in enumerate(RECENCY):
        if age_ms < limit_ms:
            return bucket
    return len(RECENCY) - 1


def _failed_at(item: tuple[str, Failure]) -> tuple[int, str]:
    return item[1].at_ms, item[0]


@lru_cache(maxsize=8192)
def _worded(language: str, order: str, told: tuple[_Part, ...]) -> Prompt:
    """The order, then what happened, then what was said, each from the oldest on; the oldest parts yield."""
    beginning = PREFIX if language == "en" else f"{PREFIX}, language {language}"
    sentences = [beginning, f"{order[0].upper()}{order[1:]}"] if order else [beginning]
    parts = [part for part in sorted(map(_Told._make, told), key=_place) if part.kind not in _QUOTED or _quote(part)]
    while len((text := _text([*sentences, *_dated(parts)])).encode()) > MAX_PROMPT_TOKENS:
        parts.remove(max(parts, key=_age))
    return Prompt(text, state_hash(text))


def _text(sentences: list[str]) -> str:
    return f"{'. '.join(sentences)}.{SLOT}"


def _place(part: _Told) -> tuple[bool, int, int, str]:
    return part.kind == _SAID, -part.bucket, part.kind, part.words


def _age(part: _Told) -> int:
    return part.bucket


def _dated(parts: list[_Told]) -> Iterator[str]:
    for bucket, together in groupby(parts, _age):
        yield f"{RECENCY[bucket][1]}: {', '.join(map(_phrase, together))}"


def _phrase(part: _Told) -> str:
    if part.kind == _FAILED:
        why = ", ".join(filter(None, map(clean, part.quotes, (_WHAT_BYTES, _WHY_BYTES))))
        return f"{part.words} ({why})" if why else part.words
    return f"{part.words} '{_quote(part)}'" if part.quotes else part.words


def _quote(part: _Told) -> str:
    """What may be quoted of a part, or nothing."""
    (text,) = part.quotes
    if part.kind == _GOODS:
        title = clean(text, _TITLE_BYTES) if is_goods(text) else ""
        return "" if "[" in title else title
    return clean(text, MAX_TEXT_BYTES if part.words == "wrote" else _SEARCH_BYTES)
