"""One visit to the simulated shop: who makes it, what happens in it, and what is needed meanwhile."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from itertools import pairwise

from features.contract import to_ms
from features.events import EventKind, UserEvent
from training.orders import LiveOrder


@dataclass(frozen=True, slots=True)
class Shopper:
    """Somebody who comes back from visit to visit."""

    number: int
    locale: str
    utc_offset_h: int

    @property
    def id(self) -> str:
        """The user id."""
        return f"shopper-{self.number}"


@dataclass(frozen=True, slots=True)
class Session:
    """One visit and what the shopper will do in it, with planned event times."""

    number: int
    shopper: Shopper
    orders: tuple[LiveOrder, ...]
    start_ms: int
    steps: tuple[tuple[float, UserEvent], ...]
    """(delay_s after the step before, event); the events' times are start_ms plus the delays so far."""
    needs: tuple[str | None, ...]
    """What the shopper needs right after each step; None = only looking."""

    @property
    def events(self) -> tuple[UserEvent, ...]:
        """The events in order."""
        return tuple(event for _, event in self.steps)

    @property
    def need(self) -> str | None:
        """The first need of the visit; None if there never is one."""
        return next((need for need in self.needs if need), None)

    def need_at(self, event_id: str) -> str | None:
        """The need right after an event; None also for an event of another visit."""
        found = (need for (_, event), need in zip(self.steps, self.needs, strict=True) if event.id == event_id)
        return next(found, None)

    def patience_ms(self, event_id: str, at_ms: int) -> float:
        """How long after `at_ms` the shopper looks at what this event brought, before doing the next thing."""
        following = (to_ms(after.time) for (_, before), (_, after) in pairwise(self.steps) if before.id == event_id)
        left_ms = next(following, at_ms) - at_ms
        return float(left_ms) if left_ms > 0 else float("inf")


def order_facts(orders: Iterable[LiveOrder]) -> frozenset[str]:
    """What a shopper's live orders make true, in the words of `features.intent.FACT_NAMES`."""
    told = {f"order:{order.status.value}" for order in orders}
    return frozenset(told | {"order:any"} if told else told)


def facts_of(kind: EventKind) -> frozenset[str]:
    """What an event of this kind makes true for the rest of the visit, beside what it tells of an order."""
    return _FACTS[kind]


_FACTS = {
    kind: frozenset({f"recent:{kind.value}"} | ({"cart:nonempty"} if kind is EventKind.CART_UPDATED else set()))
    for kind in EventKind
}


def is_order_news(kind: EventKind) -> bool:
    """Whether an event tells of an order: what happened to it, not what the visitor does."""
    return kind in _NEWS


_NEWS = frozenset(
    {
        EventKind.ORDER_PLACED, EventKind.ORDER_STATUS_CHANGED, EventKind.PARCEL_DELAYED,
        EventKind.RETURN_REQUESTED, EventKind.REFUND_ISSUED,
    }
)  # fmt: skip
