"""Builders of shopper events and of the states they fold into."""

from features.contract import from_ms, to_ms
from features.events import UserEvent
from features.fold import fold
from features.state import UserState

START_MS = 1_790_000_000_000
DATA = {
    "page_viewed": {"page": "help"},
    "searched": {"query": "where is my parcel"},
    "cart_updated": {"quantity": 3},
    "order_placed": {"order_id": "o1"},
    "order_status_changed": {"order_id": "o1", "order_status": "in_transit"},
    "parcel_delayed": {"order_id": "o1", "delay_days": 2.5},
    "return_requested": {"order_id": "o1"},
    "refund_issued": {"order_id": "o1"},
    "payment_failed": {"method": "card", "error": "declined"},
    "voucher_rejected": {"voucher": "TEN", "error": "expired"},
}


def event(kind="chat_opened", at_ms=START_MS, event_id=None, locale="en", **data):
    return UserEvent(
        id=event_id or f"{kind}-{at_ms}", type=kind, time=from_ms(at_ms), user="a", locale=locale,
        data={**DATA.get(kind, {}), **data},
    )  # fmt: skip


def apply(state, *events, watermark_ms=0):
    return [fold(state, one, to_ms(one.time), watermark_ms) for one in events]


def folded(*events):
    state = UserState()
    apply(state, *events)
    return state
