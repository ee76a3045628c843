"""The goods, errors and pages of the simulated shop, which is typical of a need, and events with such details."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from features.events import EventKind, OrderStatus, PageClass
from features.intent import Intent

Draft = tuple[EventKind, dict[str, Any]]
"""An event before it has a user, an id and a time: its kind and its data."""

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
    ("face cream", "beauty"), ("gift card of 50 euro", "gift cards"), ("longer warranty plan", "services"),
    ("repeat delivery of coffee", "kitchen"), ("replacement device part", "electronics"),
    ("size guide for shirts", "fashion"), ("pre-order game console", "electronics"),
)  # fmt: skip
_COMMON = frozenset(
    {
        "a", "an", "and", "at", "be", "can", "do", "does", "for", "from", "get", "has", "have", "how", "i", "in", "is",
        "it", "my", "no", "not", "of", "on", "or", "the", "this", "to", "what", "when", "where", "why", "with", "you",
        "your",
    }
)  # fmt: skip
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


def typical(options: Sequence[str], need: Intent) -> str | None:
    """The option that shares most telling words with the need's text (the first of equals); None if none shares any.

    >>> late = Intent(id="a", family="f", title="Late?", description="A wrong day.", examples=("x", "y", "z"))
    >>> typical(("all well", "wrong day"), late), typical(("all well",), late)
    ('wrong day', None)
    """
    words = _telling(need.canonical_text)
    best = max(options, key=lambda option: len(words & _telling(option)))
    return best if words & _telling(best) else None


def _telling(text: str) -> set[str]:
    return set(_WORD.findall(text.lower())) - _COMMON


def something(kind: EventKind, order_id: str, rng: np.random.Generator) -> Draft:
    """An event of this kind with plausible data that tell nothing of a need."""
    item, category = ITEMS[rng.integers(len(ITEMS))]
    match kind:
        case EventKind.PAYMENT_FAILED | EventKind.VOUCHER_REJECTED | EventKind.SIGN_IN_FAILED:
            data: dict[str, Any] = {"error": str(rng.choice(ERRORS[kind]))}
            if kind is EventKind.PAYMENT_FAILED:
                data |= {"method": str(rng.choice(METHODS)), "amount": _amount(rng), "currency": "EUR"}
        case EventKind.ACCOUNT_CHANGED:
            data = {"change": str(rng.choice(CHANGES))}
        case EventKind.PARCEL_DELAYED:
            data = {"order_id": order_id, "delay_days": _delay_days(rng), "carrier": str(rng.choice(CARRIERS))}
        case EventKind.ORDER_STATUS_CHANGED:
            data = {"order_id": order_id, "order_status": OrderStatus.IN_TRANSIT, "carrier": str(rng.choice(CARRIERS))}
        case EventKind.ORDER_PLACED | EventKind.RETURN_REQUESTED | EventKind.REFUND_ISSUED:
            data = {"order_id": order_id, "amount": _amount(rng), "currency": "EUR", "item_title": item}
        case EventKind.PRODUCT_VIEWED | EventKind.CHECKOUT_STARTED:
            data = {"item_title": item, "category": category, "amount": _amount(rng)}
        case EventKind.SEARCHED:
            data = {"query": item}
        case EventKind.CART_UPDATED:
            data = {"quantity": int(rng.integers(1, 6)), "amount": _amount(rng)}
        case _:
            data = {"page": PageClass.HOME} if kind is EventKind.PAGE_VIEWED else {}
    return kind, data


def order_news(status: OrderStatus, order_id: str, rng: np.random.Generator) -> Draft:
    """The event by which a shop tells that an order came into this state."""
    if kind := _NEWS.get(status):
        return something(kind, order_id, rng)
    told: dict[str, Any] = {"order_id": order_id, "order_status": status, "carrier": str(rng.choice(CARRIERS))}
    if status is OrderStatus.DELAYED:
        if rng.random() < 0.5:
            return something(EventKind.PARCEL_DELAYED, order_id, rng)
        told["delay_days"] = _delay_days(rng)
    return EventKind.ORDER_STATUS_CHANGED, told


_NEWS = {
    OrderStatus.PLACED: EventKind.ORDER_PLACED,
    OrderStatus.RETURN_REQUESTED: EventKind.RETURN_REQUESTED,
    OrderStatus.REFUNDED: EventKind.REFUND_ISSUED,
}


def _amount(rng: np.random.Generator) -> float:
    return round(float(rng.lognormal(3.6, 0.8)), 2)


def _delay_days(rng: np.random.Generator) -> float:
    return float(rng.integers(6, 15) if rng.random() < 0.3 else rng.integers(1, 6))
