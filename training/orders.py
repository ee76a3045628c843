"""How orders move: from visit to visit an order takes at most one step through its states, whatever anybody needs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import mmh3
import numpy as np

from features.events import OrderStatus

_S = OrderStatus
FIRST, BURN_IN, SLOTS = 0.5, 8, 2
"""How often a shopper without an order in one of the `SLOTS` has one by the next visit; steps before the first."""
NEXT: Mapping[OrderStatus, Mapping[OrderStatus | None, float]] = {
    _S.PLACED: {_S.PAID: 0.35, _S.PACKED: 0.25, _S.IN_TRANSIT: 0.25, _S.CANCELLED: 0.15},
    _S.PAID: {_S.PACKED: 0.4, _S.IN_TRANSIT: 0.5, _S.CANCELLED: 0.1},
    _S.PACKED: {_S.IN_TRANSIT: 0.9, _S.CANCELLED: 0.1},
    _S.IN_TRANSIT: {_S.OUT_FOR_DELIVERY: 0.35, _S.DELIVERED: 0.35, _S.DELAYED: 0.3},
    _S.OUT_FOR_DELIVERY: {_S.DELIVERED: 0.85, _S.DELAYED: 0.15},
    _S.DELAYED: {_S.DELAYED: 0.2, _S.IN_TRANSIT: 0.15, _S.DELIVERED: 0.35, _S.LOST: 0.3},
    _S.LOST: {_S.LOST: 0.3, _S.REFUNDED: 0.4, None: 0.3},
    _S.DELIVERED: {_S.DELIVERED: 0.35, _S.RETURN_REQUESTED: 0.3, None: 0.35},
    _S.RETURN_REQUESTED: {_S.RETURN_IN_TRANSIT: 0.7, _S.RETURN_REQUESTED: 0.2, _S.DELIVERED: 0.1},
    _S.RETURN_IN_TRANSIT: {_S.REFUNDED: 0.65, _S.RETURN_IN_TRANSIT: 0.35},
    _S.REFUNDED: {_S.REFUNDED: 0.2, None: 0.8},
    _S.CANCELLED: {_S.CANCELLED: 0.3, _S.REFUNDED: 0.3, None: 0.4},
}
"""From each state to the next, and how often; None = the matter is closed."""


@dataclass(frozen=True, slots=True)
class LiveOrder:
    """An order as it stands at a visit; `is_news` says that it came into this state since the visit before."""

    id: str
    status: OrderStatus
    is_news: bool


class Orders:
    """The orders of every shopper, visit by visit; equal seeds give equal orders, in whatever order they are asked."""

    def __init__(self, seed: int) -> None:
        self._seed = seed
        self._slots: dict[tuple[int, int], _Slot] = {}

    def at(self, shopper: int, visit: int) -> tuple[LiveOrder, ...]:
        """The orders of a shopper that are not closed at a visit (from 0)."""
        found = (self._slot(shopper, slot).at(visit) for slot in range(SLOTS))
        return tuple(order for order in found if order is not None)

    def _slot(self, shopper: int, slot: int) -> _Slot:
        if (shopper, slot) not in self._slots:
            rng = np.random.default_rng([self._seed, mmh3.hash("orders", signed=False), shopper, slot])
            self._slots[shopper, slot] = _Slot(f"o{self._seed}-{shopper}-{slot}", rng)
        return self._slots[shopper, slot]


class _Slot:
    """One order after the other, as far as somebody asked."""

    def __init__(self, name: str, rng: np.random.Generator) -> None:
        self._name, self._rng = name, rng
        self._number = 0
        self._status: OrderStatus | None = None
        self._visits: list[LiveOrder | None] = []
        for _ in range(BURN_IN):
            self._step()

    def at(self, visit: int) -> LiveOrder | None:
        while len(self._visits) <= visit:
            before = self._number, self._status
            self._step()
            is_news = not self._visits or before != (self._number, self._status)
            order = LiveOrder(f"{self._name}-{self._number}", self._status, is_news) if self._status else None
            self._visits.append(order)
        return self._visits[visit]

    def _step(self) -> None:
        if self._status is None:
            if self._rng.random() < FIRST:
                self._number, self._status = self._number + 1, OrderStatus.PLACED
            return
        ways = NEXT[self._status]
        place = int(np.searchsorted(np.cumsum([*ways.values()]), self._rng.random(), "right"))
        self._status = list(ways)[min(place, len(ways) - 1)]
