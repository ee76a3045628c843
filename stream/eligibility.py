"""Which intents may be offered to whom: the rules of all intents in force, asked at once."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from features.intent import Intent

REMEMBERED = 4096
"""How many different sets of facts the answers are kept for."""


@dataclass(frozen=True, slots=True, eq=False)
class Eligible:
    """The answer for one set of facts over N intents: `mask` bool[N], and the `index` i64[A] and `ids` of those."""

    mask: NDArray[np.bool_]
    index: NDArray[np.int64]
    ids: list[str]


class EligibilityRules:
    """The rules of N intents as matrices over the F facts that they name: `of(facts)` is `Intent.eligibility.holds`.

    With h[f] = 1 for a fact that holds, intent i may be offered when (All h)[i] is all that it needs and, if it asks
    for any of some, (Any h)[i] > 0.
    """

    def __init__(self, intents: Sequence[Intent]) -> None:
        rules = [intent.eligibility for intent in intents]
        self._ids = [intent.id for intent in intents]
        self._facts = sorted({fact for rule in rules for fact in (*rule.needs_all, *rule.needs_any)})
        self._all = self._named([rule.needs_all for rule in rules])
        self._any = self._named([rule.needs_any for rule in rules])
        self._needed = self._all.sum(axis=1)
        self._asks_none = ~self._any.any(axis=1)
        self._known: dict[frozenset[str], Eligible] = {}

    def _named(self, rules: Sequence[Sequence[str]]) -> NDArray[np.float32]:
        """f32[N,F]: 1 where a rule names a fact."""
        return np.array([[fact in rule for fact in self._facts] for rule in rules], np.float32).reshape(
            len(rules), len(self._facts)
        )

    def of(self, facts: frozenset[str]) -> Eligible:
        """Which of the intents may be offered to a user with these facts."""
        known = self._known.get(facts)
        if known is None:
            if len(self._known) >= REMEMBERED:
                self._known.clear()
            known = self._known[facts] = self._asked(facts)
        return known

    def _asked(self, facts: frozenset[str]) -> Eligible:
        holds = np.array([fact in facts for fact in self._facts], np.float32)
        mask = (self._all @ holds == self._needed) & (self._asks_none | (self._any @ holds > 0))
        index = np.flatnonzero(mask)
        return Eligible(mask, index, [self._ids[place] for place in index.tolist()])
