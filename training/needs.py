"""How needs arise, pass and give way, drawn for shoppers and spread for a filter by the same numbers.

A need can arise only for an intent whose eligibility holds by what happened to this shopper's orders and in this visit,
and arises more often for one that asks for something. How much each intent is wanted follows a Zipf law over a seeded
order, and moves with the season, the drift and the launch of new intents.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property

import mmh3
import numpy as np
from numpy.typing import NDArray

from features.events import EventKind
from features.intent import Eligibility, Intent
from training.choices import F64, NO_NEED
from training.dials import Dials
from training.habits import FAILURES

ZIPF = 1.1
COMING, ARISING, PASSING = 0.4, 0.1, 0.05
"""How often a need arises with the first thing a visitor does and with each one later, and how often one passes."""
TOPICAL = 6.0
"""How much more often a need arises for an intent that asks for facts, when they hold."""
DRIFT_FACTOR = 8.0
DRIFT_FACTS = frozenset({"order:delayed", "order:lost", "recent:parcel_delayed", "recent:voucher_rejected"})
DAY_MS = 24 * 60 * 60 * 1000
SEASON_DAYS = 14
"""After how many days the season's wave comes back; each family has its own moment in it."""


class Needs:
    """The needs of a seeded world over N intents: indices into them, or `NO_NEED`."""

    def __init__(self, intents: Sequence[Intent], seed: int, dials: Dials) -> None:
        self._intents, self._seed, self._dials = intents, seed, dials
        self._priors: dict[tuple[int, bool, bool, frozenset[str]], F64] = {}
        self._eligible: dict[frozenset[str], NDArray[np.bool_]] = {}
        rules = [intent.eligibility for intent in intents]
        self._rules = [rule for place, rule in enumerate(rules) if rule not in rules[:place]]
        self._rule_of = np.array([self._rules.index(rule) for rule in rules])
        self._is_for_everyone = np.array([rule == Eligibility() for rule in rules])

    @cached_property
    def _usual(self) -> F64:
        order = self._rng("mix").permutation(len(self._intents))
        return np.asarray(1.0 / (1.0 + order) ** ZIPF)

    @cached_property
    def _is_drifting(self) -> NDArray[np.bool_]:
        asked = [{*i.eligibility.needs_all, *i.eligibility.needs_any} for i in self._intents]
        return np.array([bool(DRIFT_FACTS & facts) for facts in asked])

    @cached_property
    def _moments(self) -> F64:
        return np.array([mmh3.hash(f"{self._seed}/{i.family}", signed=False) / 2**32 for i in self._intents])

    @cached_property
    def _is_new(self) -> NDArray[np.bool_]:
        new = np.zeros(len(self._intents), np.bool_)
        new[self._rng("new").permutation(len(new))[: round(self._dials.new_intents * len(new))]] = True
        return new

    def live(self, at_ms: int) -> NDArray[np.bool_]:
        """Which intents there are at a time, bool[N]."""
        return ~self._is_new if at_ms < self._dials.new_from_ms else np.ones_like(self._is_new)

    def eligible(self, facts: frozenset[str]) -> NDArray[np.bool_]:
        """Which intents may be offered to a shopper with these facts, bool[N], not to be written to."""
        if facts not in self._eligible:
            self._eligible[facts] = np.array([rule.holds(facts) for rule in self._rules])[self._rule_of]
            self._eligible[facts].flags.writeable = False
        return self._eligible[facts]

    def mix(self, at_ms: int) -> F64:
        """How much each intent is wanted at a time by somebody for whom all are eligible, f64[N], summing to 1."""
        wave = np.exp(self._dials.season * np.sin(2 * np.pi * (at_ms // DAY_MS / SEASON_DAYS + self._moments)))
        drift = np.where(self._is_drifting & self._has_drifted(at_ms), DRIFT_FACTOR, 1.0)
        weights = self._usual * wave * drift * self.live(at_ms)
        return np.asarray(weights / weights.sum())

    def failing(self, at_ms: int) -> EventKind | None:
        """What fails on the day of an outage; None on all other days."""
        rng = self._rng("outage", at_ms // DAY_MS)
        return FAILURES[rng.integers(len(FAILURES))] if rng.random() < self._dials.outages else None

    def prior(self, facts: frozenset[str], at_ms: int) -> F64:
        """Which need arises, if one does, for a shopper with these facts, f64[N + 1] (last 0); all 0 if none can."""
        key = at_ms // DAY_MS, self._has_drifted(at_ms), at_ms >= self._dials.new_from_ms, facts
        if key not in self._priors:
            often = self.eligible(facts) * np.where(self._is_for_everyone, 1.0, TOPICAL)
            weights = np.append(self.mix(at_ms) * often, 0.0)
            self._priors[key] = weights / max(weights.sum(), 1e-300)
        return self._priors[key]

    def next(self, need: int, prior: F64, *, is_first: bool, rng: np.random.Generator) -> int:
        """The need after one more event, given which one arises f64[N + 1]."""
        drawn, other = rng.random(), rng.random()
        if need == NO_NEED:
            changes = drawn < (COMING if is_first else ARISING)
        elif drawn < PASSING:
            return NO_NEED
        else:
            changes = drawn < PASSING + self._dials.flip
        if not changes or not prior.any():
            return need
        return min(int(np.searchsorted(np.cumsum(prior), other, "right")), len(prior) - 2)

    def spread(self, belief: F64, prior: F64, *, is_first: bool) -> F64:
        """The belief f64[N + 1] after one more event of which nothing is known yet: the law that `next` draws from."""
        held, none = belief[:NO_NEED].sum(), belief[NO_NEED]
        arising = COMING if is_first else ARISING
        flip = self._dials.flip
        if not prior.any():
            arising = flip = 0.0
        later = (1 - PASSING - flip) * belief + (arising * none + flip * held) * prior
        later[NO_NEED] = (1 - arising) * none + PASSING * held
        return np.asarray(later)

    def _has_drifted(self, at_ms: int) -> bool:
        return self._dials.drift and at_ms >= self._dials.drift_from_ms

    def _rng(self, purpose: str, *numbers: int) -> np.random.Generator:
        return np.random.default_rng([self._seed, mmh3.hash(purpose, signed=False), *numbers])
