"""What a simulated shopper does: the events that make facts true, reveal a need for a part, or mean nothing."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from features.events import EventKind, OrderStatus, PageClass
from features.intent import Intent

Draft = tuple[EventKind, dict[str, Any]]
"""An event before it has a user, an id and a time: its kind and its data."""

CLUE_RATE = 0.6
"""How often an error text, a delay or an account change is the one that is typical of the need; else it is any."""

ERRORS: Mapping[EventKind, tuple[str, ...]] = {
    EventKind.PAYMENT_FAILED: (
        "card declined by bank", "insufficient funds", "3-D Secure confirmation timed out", "card expired",
        "wallet not available", "charged twice", "bank transfer not received", "instalments refused", "wrong CVV",
    ),
    EventKind.VOUCHER_REJECTED: (
        "code expired", "code already used", "minimum basket not reached", "not valid for these items",
        "only for new customers", "cannot be combined", "code unknown", "gift card has no balance",
    ),
    EventKind.SIGN_IN_FAILED: (
        "wrong password", "account locked", "unknown email address", "verification code not received",
        "two-factor code wrong", "session expired", "suspicious login blocked",
    ),
}  # fmt: skip
CHANGES = (
    "email changed", "password changed", "address added", "phone number changed", "newsletter on", "newsletter off",
    "payment card removed", "two-factor on", "marketing consent changed", "name changed",
)  # fmt: skip
METHODS = ("card", "paypal", "bank transfer", "invoice", "apple pay", "instalments", "gift card")
CARRIERS = ("Northpost", "Swiftline", "Parcelhub")
ITEMS = (
    ("trail running shoes", "sport"), ("wool winter coat", "fashion"), ("noise cancelling headphones", "electronics"),
    ("espresso machine", "kitchen"), ("oak bookshelf", "furniture"), ("baby stroller", "family"),
    ("tent for two", "sport"), ("phone case", "electronics"), ("linen shirt", "fashion"), ("cordless drill", "tools"),
    ("face cream", "beauty"),
)  # fmt: skip
_GREETINGS = ("", "", "", "", "hi, ", "hello ", "hey ", "pls ", "question: ")
_ENDINGS = ("", "", "", "?", "??", " please", " thanks", " help")
_WORD = re.compile(r"[a-z]+")


def page_of(intent: Intent) -> PageClass:
    """The page on which a shopper with this need looks first, by what the intent's eligibility asks."""
    asked = " ".join((intent.family, *intent.eligibility.needs_all, *intent.eligibility.needs_any))
    for word, page in _PAGES:
        if word in asked:
            return page
    return PageClass.HELP


_PAGES = (
    ("return", PageClass.RETURNS), ("refund", PageClass.RETURNS), ("payment", PageClass.CHECKOUT),
    ("voucher", PageClass.CHECKOUT), ("checkout", PageClass.CHECKOUT), ("cart", PageClass.CART),
    ("sign_in", PageClass.ACCOUNT), ("account", PageClass.ACCOUNT), ("order", PageClass.ORDER),
)  # fmt: skip


def events_for(intent: Intent, orders: str, rng: np.random.Generator, *, is_need: bool) -> list[Draft]:
    """Events after which the intent's eligibility holds: all of `needs_all` and one of `needs_any`.

    `is_need` says that the shopper needs it, so that details are typical of it now and then; `orders` begins the
    order ids. Each fact about an order gets an order of its own, the cart comes last: no event undoes another's fact.
    """
    rule = intent.eligibility
    facts = list(rule.needs_all)
    if rule.needs_any and not set(rule.needs_any) & set(facts):
        facts.append(str(rng.choice(rule.needs_any)))
    facts.sort(key=lambda fact: (fact == "cart:nonempty", fact.startswith("recent:")))
    return [_event_for(fact, intent if is_need else None, f"{orders}-{i}", rng) for i, fact in enumerate(facts)]


def _event_for(fact: str, need: Intent | None, order_id: str, rng: np.random.Generator) -> Draft:
    name = fact.partition(":")[2]
    if fact == "cart:nonempty":
        return EventKind.CART_UPDATED, {"quantity": int(rng.integers(1, 6)), "amount": _amount(rng)}
    if fact.startswith("recent:"):
        return something(EventKind(name), need, order_id, rng)
    status = OrderStatus(rng.choice(_ANY_STATUS)) if name == "any" else OrderStatus(name)
    if status is OrderStatus.PLACED:
        return something(EventKind.ORDER_PLACED, need, order_id, rng)
    told: dict[str, Any] = {"order_id": order_id, "order_status": status, "carrier": str(rng.choice(CARRIERS))}
    if status is OrderStatus.DELAYED:
        told["delay_days"] = _delay_days(need, rng)
    return EventKind.ORDER_STATUS_CHANGED, told


_ANY_STATUS = (OrderStatus.PAID, OrderStatus.PACKED, OrderStatus.IN_TRANSIT, OrderStatus.DELIVERED)


def something(kind: EventKind, need: Intent | None, order_id: str, rng: np.random.Generator) -> Draft:
    """An event of this kind with plausible data; typical of the need for `CLUE_RATE` of the cases."""
    item, category = ITEMS[rng.integers(len(ITEMS))]
    match kind:
        case EventKind.PAYMENT_FAILED | EventKind.VOUCHER_REJECTED | EventKind.SIGN_IN_FAILED:
            data: dict[str, Any] = {"error": _clue(ERRORS[kind], need, rng)}
            if kind is EventKind.PAYMENT_FAILED:
                data |= {"method": _clue(METHODS, need, rng), "amount": _amount(rng), "currency": "EUR"}
        case EventKind.ACCOUNT_CHANGED:
            data = {"change": _clue(CHANGES, need, rng)}
        case EventKind.PARCEL_DELAYED:
            data = {"order_id": order_id, "delay_days": _delay_days(need, rng), "carrier": str(rng.choice(CARRIERS))}
        case EventKind.ORDER_STATUS_CHANGED:
            data = {"order_id": order_id, "order_status": OrderStatus.IN_TRANSIT, "carrier": str(rng.choice(CARRIERS))}
        case EventKind.ORDER_PLACED | EventKind.RETURN_REQUESTED | EventKind.REFUND_ISSUED:
            data = {"order_id": order_id, "amount": _amount(rng), "currency": "EUR", "item_title": item}
        case EventKind.PRODUCT_VIEWED | EventKind.CHECKOUT_STARTED:
            data = {"item_title": item, "category": category, "amount": _amount(rng)}
        case EventKind.SEARCHED:
            data = {"query": item}
        case _:
            data = _PLAIN.get(kind, {})
    return kind, data


_PLAIN: dict[EventKind, dict[str, Any]] = {
    EventKind.PAGE_VIEWED: {"page": PageClass.HOME},
    EventKind.CART_UPDATED: {"quantity": 1},
}


def _amount(rng: np.random.Generator) -> float:
    return round(float(rng.lognormal(3.6, 0.8)), 2)


def _delay_days(need: Intent | None, rng: np.random.Generator) -> float:
    """Short or long by the need (its id decides), so that a delay tells something about it."""
    long = bool(rng.random() < 0.3) if need is None else len(need.id) % 2 == 0
    return float(rng.integers(6, 15) if long else rng.integers(1, 6))


def _clue(options: Sequence[str], need: Intent | None, rng: np.random.Generator) -> str:
    if need is not None and rng.random() < CLUE_RATE:
        return typical(options, need)
    return str(rng.choice(options))


def typical(options: Sequence[str], need: Intent) -> str:
    """The option that shares most words with the need's text; the first of equals.

    >>> late = Intent(id="a", family="f", title="Late?", description="A wrong day.", examples=("x", "y", "z"))
    >>> typical(("all well", "wrong day"), late)
    'wrong day'
    """
    words = set(_WORD.findall(need.canonical_text.lower()))
    return max(options, key=lambda option: len(words & set(_WORD.findall(option.lower()))))


def looking(idle: Intent, orders: str, rng: np.random.Generator) -> list[Draft]:
    """A visit without a need; half of them with the facts of some intent, so that facts alone prove nothing."""
    drafts = _browsing(rng)
    if rng.random() < 0.5:
        drafts += events_for(idle, orders, rng, is_need=False)
    pages = (PageClass.ORDER, PageClass.HOME, PageClass.CATEGORY, PageClass.HELP, PageClass.ACCOUNT)
    return [*drafts, (EventKind.PAGE_VIEWED, {"page": pages[rng.integers(len(pages))]})]


def needing(need: Intent, phrases: Sequence[str], orders: str, locale: str, rng: np.random.Generator) -> list[Draft]:
    """A visit with a need: what happened, the need in words if there are `phrases`, then pages that trigger prompts."""
    drafts = _browsing(rng) + events_for(need, orders, rng, is_need=True)
    if phrases:
        drafts.append(_revealing(need, phrases, locale, rng))
    for _ in range(rng.integers(1, 5)):
        page = page_of(need) if rng.random() < 0.6 else PageClass.HELP
        drafts.append((EventKind.PAGE_VIEWED, {"page": page}))
    if rng.random() < 0.6:
        topic = need.family.replace("_", " ") if rng.random() < 0.5 else "help centre"
        drafts.append((EventKind.HELP_PAGE_OPENED, {"topic": topic}))
    return drafts


def _browsing(rng: np.random.Generator) -> list[Draft]:
    """One to three events of a shopper who only looks at goods."""
    kinds = (EventKind.PAGE_VIEWED, EventKind.PRODUCT_VIEWED, EventKind.PRODUCT_VIEWED, EventKind.SEARCHED)
    return [something(kinds[rng.integers(len(kinds))], None, "", rng) for _ in range(rng.integers(1, 4))]


def typed(phrase: str, rng: np.random.Generator) -> str:
    """The phrase as somebody types it: a greeting, an ending, sometimes a lost letter."""
    text = f"{rng.choice(_GREETINGS)}{phrase}"
    if rng.random() < 0.2 and len(text) > 8:
        lost = int(rng.integers(3, len(text)))
        text = text[:lost] + text[lost + 1 :]
    return f"{text.rstrip('?')}{rng.choice(_ENDINGS)}"[:200]


def _revealing(need: Intent, phrases: Sequence[str], locale: str, rng: np.random.Generator) -> Draft:
    """A search or a chat message in which the need stands in words; in Spanish where the intent has Spanish texts."""
    phrase = str(rng.choice(phrases))
    if locale in need.texts and rng.random() < 0.5:
        phrase = need.texts[locale].title.strip("¿?").lower()
    text = typed(phrase, rng)
    return (EventKind.SEARCHED, {"query": text}) if rng.random() < 0.5 else (EventKind.CHAT_OPENED, {"text": text})
