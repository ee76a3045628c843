"""The wire contract of shoppers' events: frozen, bounded and forward compatible.

An unknown event *type* is accepted as `EventKind.OTHER`; the rules that all messages share are in `features.contract`.
Attribute names follow CloudEvents 1.0 (`specversion`, `id`, `source`, `type`, `time`, `data`); event types follow the
object_action habit of commerce tracking plans.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, ClassVar, Literal, Self

from pydantic import Field, StringConstraints, model_validator

from features.contract import (
    Contract,
    Identifier,
    Locale,
    LongText,
    Moment,
    OfUser,
    ShortText,
    Slug,
    Tenant,
    User,
)

MAX_EVENT_BYTES = 256 * 1024
"""The largest event a worker applies; a larger one is dead-lettered."""


class EventKind(StrEnum):
    """What a shopper's event can be; `OTHER` stands for a type this version does not know."""

    PAGE_VIEWED = "page_viewed"
    PRODUCT_VIEWED = "product_viewed"
    SEARCHED = "searched"
    CART_UPDATED = "cart_updated"
    CHECKOUT_STARTED = "checkout_started"
    PAYMENT_FAILED = "payment_failed"
    VOUCHER_REJECTED = "voucher_rejected"
    ORDER_PLACED = "order_placed"
    ORDER_STATUS_CHANGED = "order_status_changed"
    PARCEL_DELAYED = "parcel_delayed"
    RETURN_REQUESTED = "return_requested"
    REFUND_ISSUED = "refund_issued"
    HELP_PAGE_OPENED = "help_page_opened"
    CHAT_OPENED = "chat_opened"
    SIGN_IN_FAILED = "sign_in_failed"
    ACCOUNT_CHANGED = "account_changed"
    OTHER = "other"


class PageClass(StrEnum):
    """Which part of the shop a viewed page belongs to."""

    HOME = "home"
    CATEGORY = "category"
    PRODUCT = "product"
    CART = "cart"
    CHECKOUT = "checkout"
    ORDER = "order"
    RETURNS = "returns"
    ACCOUNT = "account"
    HELP = "help"


class OrderStatus(StrEnum):
    """The states of an order, from placed to its ends."""

    PLACED = "placed"
    PAID = "paid"
    PACKED = "packed"
    IN_TRANSIT = "in_transit"
    OUT_FOR_DELIVERY = "out_for_delivery"
    DELAYED = "delayed"
    LOST = "lost"
    DELIVERED = "delivered"
    RETURN_REQUESTED = "return_requested"
    RETURN_IN_TRANSIT = "return_in_transit"
    REFUNDED = "refunded"
    CANCELLED = "cancelled"


class EventData(Contract):
    """What an event may tell; which of it a type needs is in `UserEvent.REQUIRED`."""

    page: PageClass | None = None
    path: Annotated[str, StringConstraints(max_length=500)] | None = None
    query: ShortText | None = Field(default=None, description="what was typed into the shop's search")
    text: LongText | None = Field(default=None, description="what was typed into the chat or help box")
    topic: ShortText | None = Field(default=None, description="the title of a help page")
    item_title: ShortText | None = None
    category: ShortText | None = None
    quantity: Annotated[int, Field(ge=0, le=10_000)] | None = Field(default=None, description="items in the cart")
    amount: Annotated[float, Field(ge=0, le=10_000_000)] | None = None
    currency: Annotated[str, StringConstraints(pattern=r"^[A-Z]{3}$")] | None = None
    order_id: Identifier | None = None
    order_status: OrderStatus | None = None
    delay_days: Annotated[float, Field(ge=0, le=365)] | None = None
    carrier: ShortText | None = None
    method: ShortText | None = Field(default=None, description="payment method")
    error: ShortText | None = Field(default=None, description="why a payment, voucher or sign-in failed")
    voucher: ShortText | None = None
    change: ShortText | None = Field(default=None, description="what changed in the account")


REQUIRED: dict[EventKind, tuple[str, ...]] = {
    EventKind.PAGE_VIEWED: ("page",),
    EventKind.SEARCHED: ("query",),
    EventKind.CART_UPDATED: ("quantity",),
    EventKind.ORDER_PLACED: ("order_id",),
    EventKind.ORDER_STATUS_CHANGED: ("order_id", "order_status"),
    EventKind.PARCEL_DELAYED: ("order_id",),
    EventKind.RETURN_REQUESTED: ("order_id",),
    EventKind.REFUND_ISSUED: ("order_id",),
}
"""The `data` fields a type cannot do without."""


class UserEvent(OfUser, Contract):
    """One thing a shopper did, or that happened to their order (topic `shop.user.events.v1`)."""

    max_bytes: ClassVar[int | None] = MAX_EVENT_BYTES

    specversion: Literal["1.0"] = "1.0"
    id: Identifier
    source: Annotated[str, StringConstraints(max_length=200)] = "/shop"
    type: Slug
    time: Moment
    tenant: Tenant = "demo"
    user: User
    locale: Locale = "en"
    data: EventData = EventData()

    @property
    def kind(self) -> EventKind:
        """The type, or `OTHER` when this version does not know it."""
        return KINDS.get(self.type, EventKind.OTHER)

    @model_validator(mode="after")
    def _holds_what_its_type_needs(self) -> Self:
        missing = [name for name in REQUIRED.get(self.kind, ()) if getattr(self.data, name) is None]
        if missing:
            raise ValueError(f"{self.type} needs data.{', data.'.join(missing)}")
        return self


KINDS = {kind.value: kind for kind in EventKind}
"""Event kinds by type."""
