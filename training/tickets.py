"""What a shop does before it has a model: slates drawn by last month's tickets, with exact propensities.

An intent's weight is its share of the tickets (what shoppers asked the service about), of which `SMOOTHING` is spread
evenly; times `TOPICAL` when its eligibility asks for facts and what happened in this visit alone fulfils it; times
`AT_HOME` when it belongs to the page that the shopper looks at. A slate is drawn one intent after the other without
replacement (Plackett-Luce), so with W the weight of all n intents of the pool

    P(slate i, j, l)     = w_i / W  x  w_j / (W - w_i)  x  w_l / (W - w_i - w_j)
    P(l stands third)    = w_l x sum over i != j, both != l, of  w_i w_j / (W (W - w_i) (W - w_i - w_j))

and likewise for the first two positions. No weight is 0: every eligible intent can stand everywhere.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from features.events import PageClass
from features.knowledge import Eligibility, KnowledgeBase
from training.shopping import page_of

F64 = NDArray[np.float64]

SLATE = 3
"""Prompts in a slate, at most; the closed forms below are those of three positions."""
TOPICAL, AT_HOME = 15.0, 8.0
"""How much heavier an intent is whose facts came true in this visit, and one that belongs to the page."""
SMOOTHING = 0.1
"""The part of the tickets that is spread evenly over the knowledge base."""
_EVERYONE = Eligibility()


class Rule:
    """The weights of a knowledge base's intents, by the shares of the tickets (summing to 1; absent = none)."""

    def __init__(self, kb: KnowledgeBase, shares: Mapping[str, float]) -> None:
        even = SMOOTHING / len(kb.intents)
        self._shares = {intent.id: (1 - SMOOTHING) * shares.get(intent.id, 0.0) + even for intent in kb.intents}
        self._pages = {intent.id: page_of(intent) for intent in kb.intents}
        self._asking = {intent.id: intent.eligibility for intent in kb.intents if intent.eligibility != _EVERYONE}

    def pool(self, eligible: Sequence[str], visit: frozenset[str], page: PageClass | None) -> Pool:
        """The eligible intents with their weights, by the facts of this visit alone and the page (None = no page)."""
        return Pool(tuple(eligible), np.array([self._weight(intent_id, visit, page) for intent_id in eligible]))

    def _weight(self, intent_id: str, visit: frozenset[str], page: PageClass | None) -> float:
        asking = self._asking.get(intent_id)
        topical = TOPICAL if asking is not None and asking.holds(visit) else 1.0
        return self._shares[intent_id] * topical * (AT_HOME if self._pages[intent_id] is page else 1.0)


@dataclass(frozen=True, eq=False)
class Pool:
    """The n intents that may be offered, with their weights f64[n], all above 0."""

    ids: Sequence[str]
    weights: F64

    def draw(self, rng: np.random.Generator) -> list[int]:
        """An ordered slate of at most `SLATE` indices: the first in the order of Exp(1) / w, which is Plackett-Luce."""
        arrival = rng.standard_exponential(len(self.weights)) / self.weights
        return [int(place) for place in np.argsort(arrival, kind="stable")[:SLATE]]

    def slate_propensity(self, slate: Sequence[int]) -> float:
        """P(slate), the module's first equation."""
        left, chance = self._total, 1.0
        for index in slate:
            chance *= float(self.weights[index]) / left
            left -= float(self.weights[index])
        return min(chance, 1.0)

    def item_propensity(self, index: int, place: int) -> float:
        """The probability that `index` stands at `place` (from 0), the module's second equation."""
        return float(min(self._at_place[place][index], 1.0))

    @cached_property
    def _total(self) -> float:
        return float(self.weights.sum())

    @cached_property
    def _at_place(self) -> F64:
        """f64[min(SLATE, n), n]: a row for each position, each summing to 1."""
        w, places = self.weights, min(SLATE, len(self.weights))
        first = w / self._total
        if places == 1:
            return first[None]
        before = first / (self._total - w)
        second = w * (before.sum() - before)
        if places == 2:
            return np.stack([first, second])
        left = self._total - w[:, None] - w
        np.fill_diagonal(left, np.inf)
        pairs = before[:, None] * w / left
        third = w * (pairs.sum() - pairs.sum(axis=0) - pairs.sum(axis=1))
        return np.stack([first, second, third])
