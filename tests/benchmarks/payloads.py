"""What the events of the bench's log tell: its own words, so that no change of the simulated shop changes the bytes."""

from __future__ import annotations

from typing import Any

import numpy as np

from features.events import EventKind, OrderStatus, PageClass

Data = dict[str, Any]

VARIANTS = 40
"""Different payloads of each kind."""

_ERRORS = {
    EventKind.PAYMENT_FAILED: ("card declined by bank", "insufficient funds", "card expired", "charged twice"),
    EventKind.VOUCHER_REJECTED: ("code expired", "code already used", "minimum basket not reached", "code unknown"),
    EventKind.SIGN_IN_FAILED: ("wrong password", "account locked", "unknown email address", "session expired"),
}
_METHODS = ("card", "paypal", "bank transfer", "invoice", "gift card")
_CHANGES = ("email changed", "password changed", "address added", "newsletter off", "two-factor on")
_CARRIERS = ("Northpost", "Swiftline", "Parcelhub")
_ITEMS = (
    ("trail running shoes", "sport"), ("wool winter coat", "fashion"), ("noise cancelling headphones", "electronics"),
    ("espresso machine", "kitchen"), ("oak bookshelf", "furniture"), ("baby stroller", "family"), ("tent", "sport"),
)  # fmt: skip
_PAGES = (PageClass.HOME, PageClass.CATEGORY, PageClass.PRODUCT, PageClass.CART)


_K = EventKind
_TOLD: dict[EventKind, tuple[str, ...]] = {
    _K.PAGE_VIEWED: ("page", "path"),
    _K.PRODUCT_VIEWED: ("path", "item_title", "category", "amount"),
    _K.SEARCHED: ("path", "query"),
    _K.CART_UPDATED: ("path", "quantity"),
    _K.CHECKOUT_STARTED: ("path", "item_title", "category", "amount"),
    _K.ORDER_PLACED: ("path", "item_title", "amount", "currency", "order_id"),
    _K.ORDER_STATUS_CHANGED: ("path", "order_id", "order_status", "carrier"),
    _K.ACCOUNT_CHANGED: ("path", "change"),
    _K.HELP_PAGE_OPENED: ("path", "topic"),
    _K.CHAT_OPENED: ("path", "text"),
    _K.PAYMENT_FAILED: ("path", "amount", "currency", "method", "error"),
    _K.VOUCHER_REJECTED: ("path", "error"),
    _K.PARCEL_DELAYED: ("path", "order_id", "delay_days", "carrier"),
    _K.RETURN_REQUESTED: ("path", "item_title", "amount", "currency", "order_id"),
    _K.SIGN_IN_FAILED: ("path", "error"),
}
"""What each kind tells, in the contract's order."""


def payloads(kind: EventKind, rng: np.random.Generator) -> list[Data]:
    """`VARIANTS` payloads of a kind; paths and order ids are empty, to be filled in later."""
    drawn = [_drawn(kind, number, rng) for number in range(VARIANTS)]
    return [{name: values[name] for name in _TOLD[kind]} for values in drawn]


def _drawn(kind: EventKind, number: int, rng: np.random.Generator) -> Data:
    item, category = _ITEMS[rng.integers(len(_ITEMS))]
    return {
        "page": _PAGES[number % len(_PAGES)],
        "path": "",
        "query": item,
        "text": "is it on its way",
        "topic": "Where is my order",
        "item_title": item,
        "category": category,
        "quantity": number % 6,
        "amount": round(float(rng.uniform(5, 400)), 2),
        "currency": "EUR",
        "order_id": "",
        "order_status": OrderStatus.IN_TRANSIT,
        "delay_days": float(rng.integers(1, 9)),
        "carrier": str(rng.choice(_CARRIERS)),
        "method": str(rng.choice(_METHODS)),
        "error": str(rng.choice(_ERRORS.get(kind, ("",)))),
        "change": str(rng.choice(_CHANGES)),
    }
