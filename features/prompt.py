"""A user's state as a short, redacted prompt for the reasoner, and the state hash that says "nothing changed".

The prompt holds order states, failures, the last search, help page and typed text, with recency in buckets
(`RECENCY`), oldest first, and ends in `SLOT`, where the latent query is pooled (algorithm.md 2.1). Page views are
not in it: equal meaning is equal text, and equal text is one cache entry.
"""

from __future__ import annotations

import hashlib
import re
import unicodedata
from collections.abc import Iterator
from functools import lru_cache
from typing import NamedTuple

from features.canonical import ShopperEvent
from features.contract import Locale
from features.events import EventKind, OrderStatus
from features.knowledge import Intent
from features.state import Order, UserState

PREFIX = "A customer of an online shop"
"""How every prompt begins, a user's and an intent's alike, so that the model's keys and values of it can be reused.

What follows begins with a full stop or a comma: byte-level tokenizers part there, so that the first tokens are equal.
"""

SLOT = ' The topic of the question of this customer, in one word: "'
"""How every prompt ends, a user's and an intent's alike."""

MAX_PROMPT_CHARS = 640
"""No prompt is longer, whatever the state holds."""

RECENCY: tuple[tuple[int, str], ...] = (
    (5 * 60_000, "Just now"),
    (3_600_000, "In the last hour"),
    (86_400_000, "Today"),
)
"""Age limits in ms, and how a prompt says them. What is older is left out, but for orders."""

EARLIER = "Earlier"
FORM = "rgalign prompt 1"
"""Names this wording; the reasoner's base_id holds it, so that another wording is another space."""

MAX_PARTS = 6
_MAX_ORDERS = 3
_ORDERED, _FAILED = 2, 3
_MAX_TEXT_BYTES = 90
_INTENT_EXAMPLES = 2

_EMAIL = re.compile(r"[^\s<>(),;:]+@[^\s<>(),;]*")
_LONG_NUMBER = re.compile(r"\+?\(?\d(?:[\s().\-/_:+]{0,3}\d){6,}")
_MARKUP = re.compile(r"<\||\|>")
_UNSEEN = frozenset({"Cc", "Co", "Cs", "Cn", "Zl", "Zp"})

_ORDER_WORDS: dict[str, str] = {
    OrderStatus.PLACED: "order placed",
    OrderStatus.PAID: "order paid",
    OrderStatus.PACKED: "order packed",
    OrderStatus.IN_TRANSIT: "order in transit",
    OrderStatus.OUT_FOR_DELIVERY: "order out for delivery",
    OrderStatus.DELAYED: "order delayed",
    OrderStatus.LOST: "order lost",
    OrderStatus.DELIVERED: "order delivered",
    OrderStatus.RETURN_REQUESTED: "asked to return an order",
    OrderStatus.RETURN_IN_TRANSIT: "return on its way back",
    OrderStatus.REFUNDED: "order refunded",
    OrderStatus.CANCELLED: "order cancelled",
}
_FAILURE_WORDS: dict[EventKind, str] = {
    EventKind.VOUCHER_REJECTED: "voucher rejected",
    EventKind.SIGN_IN_FAILED: "sign-in failed",
    EventKind.PAYMENT_FAILED: "payment failed",
}
_KIND_WORDS: dict[EventKind, str] = {
    EventKind.CHECKOUT_STARTED: "started the checkout",
    EventKind.ACCOUNT_CHANGED: "changed the account",
}
_QUIET = frozenset({EventKind.PAGE_VIEWED, EventKind.PRODUCT_VIEWED, EventKind.CART_UPDATED, EventKind.OTHER})


class _Told(NamedTuple):
    """Something that happened, as the state has it: our `words` and untrusted `quotes`.

    `bucket` indexes RECENCY (0 = just now); a higher `weight` tells more of the need.
    """

    bucket: int
    weight: int
    words: str
    quotes: tuple[str, ...] = ()


class Prompt(NamedTuple):
    """A prompt, at most `MAX_PROMPT_CHARS` long and ending in `SLOT`, and its `state_hash`."""

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
    return _worded(language, (*_orders(state, now_ms), *_happenings(state, now_ms)))


@lru_cache(maxsize=8192)
def _worded(language: str, told: tuple[_Told, ...]) -> Prompt:
    parts = sorted({(part.bucket, -part.weight, _sentence(part)) for part in told})
    sentences = [f"{PREFIX}." if language == "en" else f"{PREFIX}, language {language}."]
    for bucket, when in reversed([*enumerate(when for _, when in RECENCY), (len(RECENCY), EARLIER)]):
        said = [text for at, _, text in reversed(parts[:MAX_PARTS]) if at == bucket]
        sentences += [f"{when}: {', '.join(said)}."] if said else []
    text = _ended(" ".join(sentences))
    return Prompt(text, state_hash(text))


def _sentence(told: _Told) -> str:
    if told.weight == _FAILED:
        why = ", ".join(filter(None, (clean(quote, limit) for quote, limit in zip(told.quotes, (30, 40), strict=True))))
        return told.words + (f" ({why})" if why else "")
    return f"{told.words} '{clean(told.quotes[0])}'" if told.quotes else told.words


def is_telling(event: ShopperEvent) -> bool:
    """Whether an event can change what a prompt means: views of pages and items, and the cart, cannot without words."""
    return event.kind not in _QUIET or bool(event.data.query or event.data.topic or event.data.text)


def intent_prompt(intent: Intent) -> str:
    """The intent's side of the same slot: its canonical title, description and first examples."""
    examples = " ".join(clean(example) for example in intent.examples[:_INTENT_EXAMPLES])
    told = f"{PREFIX}. {RECENCY[0][1]}: wrote '{clean(intent.title)}'."
    return _ended(f"{told} {clean(intent.description, max_bytes=160)} {examples}")


def _ended(text: str) -> str:
    """The text, cut so that the slot always fits."""
    return text[: MAX_PROMPT_CHARS - len(SLOT)] + SLOT


def _bucket(at_ms: int, now_ms: int) -> int:
    """Which of RECENCY an event of `at_ms` falls into; len(RECENCY) when it is older. The future is just now."""
    age_ms = now_ms - at_ms
    for bucket, (limit_ms, _) in enumerate(RECENCY):
        if age_ms < limit_ms:
            return bucket
    return len(RECENCY)


def _orders(state: UserState, now_ms: int) -> list[_Told]:
    newest = sorted(state.orders.values(), key=lambda order: order.at_ms, reverse=True)
    return [_Told(_bucket(order.at_ms, now_ms), _ORDERED, _order_words(order)) for order in newest[:_MAX_ORDERS]]


def _order_words(order: Order) -> str:
    words = _ORDER_WORDS.get(order.status, "order")
    late = order.delay_days >= 1 and order.status == OrderStatus.DELAYED
    return words + (_delay(order.delay_days) if late else "")


def _delay(days: float) -> str:
    return " by a few days" if days < 7 else " by more than a week"


def _happenings(state: UserState, now_ms: int) -> Iterator[_Told]:
    """Events that tell of a need, with their words; what is older than the last bucket is left out."""
    for at_ms, weight, words, quotes in _told(state):
        if at_ms > 0 and (bucket := _bucket(at_ms, now_ms)) < len(RECENCY):
            yield _Told(bucket, weight, words, quotes)


def _told(state: UserState) -> Iterator[tuple[int, int, str, tuple[str, ...]]]:
    """(time, weight, words, quotes) of everything the state remembers in words."""
    for kind, words in _KIND_WORDS.items():
        yield state.last_kind_ms(kind), 1, words, ()
    for kind, words in _FAILURE_WORDS.items():
        if (failure := state.failures.get(kind)) is not None:
            yield failure.at_ms, _FAILED, words, (failure.what, failure.error)
    if state.last_help_topic:
        yield state.last_help_ms, 4, "read help on", (state.last_help_topic,)
    if state.last_search:
        yield state.last_search_ms, 5, "searched", (state.last_search,)
    if state.last_text:
        yield state.last_text_ms, 6, "wrote", (state.last_text,)


def state_hash(prompt: str) -> str:
    """The sha256 of the prompt, in hex: equal meaning, equal hash."""
    return hashlib.sha256(prompt.encode()).hexdigest()


def clean(text: str, max_bytes: int = _MAX_TEXT_BYTES) -> str:
    r"""Untrusted text made safe to quote: NFKC, no controls or invisible marks, personal data hidden, capped in UTF-8.

    >>> clean("mail  me at jo@example.com,\u200b card 4111 1111 1111 1111")
    'mail me at [email], card [number]'
    """
    visible = "".join(_visible(character) for character in unicodedata.normalize("NFKC", text))
    plain = _MARKUP.sub(" ", visible).replace('"', "'")
    redacted = redact(" ".join(plain.split()))
    return redacted.encode()[:max_bytes].decode(errors="ignore").strip()


def redact(text: str) -> str:
    """Hides what can name a person: e-mail addresses and numbers of seven digits or more (phones, cards, accounts)."""
    return _LONG_NUMBER.sub("[number]", _EMAIL.sub("[email]", text))


def _visible(character: str) -> str:
    category = unicodedata.category(character)
    if category == "Cf":
        return ""
    return " " if category in _UNSEEN else character
