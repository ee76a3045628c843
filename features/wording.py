"""The words in which a prompt tells of order states, failures and what a shopper did."""

from __future__ import annotations

from features.events import EventKind, OrderStatus

ORDERS: dict[str, str] = {
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
FAILURES: dict[str, str] = {
    EventKind.VOUCHER_REJECTED: "voucher rejected",
    EventKind.SIGN_IN_FAILED: "sign-in failed",
    EventKind.PAYMENT_FAILED: "payment failed",
}
DEEDS: dict[str, str] = {
    EventKind.CHECKOUT_STARTED: "started the checkout",
    EventKind.ACCOUNT_CHANGED: "changed the account",
}
NAMING_ITEMS = frozenset(
    {EventKind.CHECKOUT_STARTED, EventKind.ORDER_PLACED, EventKind.RETURN_REQUESTED, EventKind.REFUND_ISSUED}
)
"""Telling events that may name an item."""


def order_words(status: str, delay_days: float) -> str:
    """An order's state; a delay is short or long.

    >>> order_words("delayed", 3.0), order_words("delivered", 3.0)
    ('order delayed by a few days', 'order delivered')
    """
    words = ORDERS.get(status, "order")
    if delay_days < 1 or status != OrderStatus.DELAYED:
        return words
    return words + (" by a few days" if delay_days < 7 else " by more than a week")
