"""The declared world: simulated shoppers with a latent need, whose clicks follow a known oracle.

What it assumes, so that nobody mistakes it for people: a session has one need (an intent of the KB) or, for
`NO_NEED` of them, none. Needs follow a Zipf law over a seeded order of the intents. A session's events make the
need's eligibility true; error texts, delays and pages narrow it down to a few intents; for `REVEALED` of the needs a
search or chat text says it in words. A seen prompt is clicked with probability examination(position) x
relevance(need, intent), independently of the others; a click solves the need. Without a need nobody clicks.

Drift (`drift=True`, from `drift_from_ms` on) is a carrier strike together with a faulty voucher campaign: intents
about delayed or lost parcels and about rejected vouchers are needed `DRIFT_FACTOR` times as often as before.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import mmh3
import numpy as np
import yaml
from numpy.typing import NDArray

from features.contract import from_ms
from features.events import Decision, EventData, EventKind, Outcome, OutcomeKind, PageClass, Prompt, UserEvent
from features.intent import Intent
from features.knowledge import KnowledgeBase
from training import shopping

NO_NEED, REVEALED, SPANISH, ZIPF = 0.35, 0.5, 0.2, 0.9
EXAMINATION = (1.0, 0.75, 0.55, 0.42, 0.33, 0.27, 0.22, 0.18, 0.15, 0.12)
"""The probability that a shopper looks at position 1, 2, ... of a slate that is on the screen."""
OWN, SIBLING, STRANGER = 0.75, (0.06, 0.15), 0.004
"""Relevance of the need itself, the range for intents of its family, and that of all others."""
UNSEEN, DISMISS_IDLE, DISMISS_NEEDY = 0.05, 0.08, 0.03
"""How often a slate is never seen, and how often an unclicked one is dismissed, without and with a need."""
DRIFT_FACTOR = 8.0
DRIFT_FACTS = frozenset({"order:delayed", "order:lost", "recent:parcel_delayed", "recent:voucher_rejected"})
PHRASES = Path(__file__).with_name("phrases.yaml")

Phrases = Mapping[str, Sequence[str]]


def load_phrases(path: Path = PHRASES) -> Phrases:
    """What shoppers type for each intent, {intent id: phrases}. Raises ValueError if the file is no such mapping."""
    told = yaml.safe_load(path.read_text())
    if not isinstance(told, dict) or not all(isinstance(said, list) and said for said in told.values()):
        raise ValueError(
            f"{path} is not a mapping of intent ids to lists of phrases; expected e.g. `track: [wheres it]`"
        )
    return {intent_id: [str(phrase) for phrase in said] for intent_id, said in told.items()}


@dataclass(frozen=True, slots=True)
class Shopper:
    """Somebody who comes back from session to session."""

    id: str
    locale: str


@dataclass(frozen=True, slots=True)
class Session:
    """One visit: what the shopper needs (None = only looking) and what they will do, with planned event times."""

    number: int
    shopper: Shopper
    need: str | None
    revealed: bool
    start_ms: int
    steps: tuple[tuple[float, UserEvent], ...]
    """(delay_s after the step before, event); the events' times are start_ms plus the delays so far."""

    @property
    def events(self) -> tuple[UserEvent, ...]:
        """The events in order."""
        return tuple(event for _, event in self.steps)


class World:
    """A seeded world: the same (knowledge base, phrases, seed, drift) gives the same sessions and answers.

    `shoppers` people take turns, in a new random order each round. `haste` divides all waiting times. An intent
    without phrases is typed in the words of its KB examples.
    """

    def __init__(
        self,
        kb: KnowledgeBase,
        phrases: Phrases,
        seed: int,
        *,
        drift: bool = False,
        drift_from_ms: int = 0,
        shoppers: int = 1000,
        tenant: str = "demo",
        haste: float = 1.0,
    ) -> None:
        self.intents = tuple(intent for intent in kb.intents if intent.status == "active")
        if not self.intents:
            raise ValueError(
                "the knowledge base has no active intent; expected at least one: nobody could need anything"
            )
        self.by_id: dict[str, Intent] = {intent.id: intent for intent in self.intents}
        self.seed, self.tenant, self.haste, self.shoppers = seed, tenant, haste, shoppers
        self._phrases = {i.id: tuple(phrases.get(i.id) or (said.lower() for said in i.examples)) for i in self.intents}
        self._drift, self._drift_from_ms = drift, drift_from_ms

    def _mix(self, at_ms: int) -> NDArray[np.float64]:
        return self._drifted_mix if self._drift and at_ms >= self._drift_from_ms else self._usual_mix

    @cached_property
    def _usual_mix(self) -> NDArray[np.float64]:
        order = self._rng("mix", 0).permutation(len(self.intents))
        weights = 1.0 / (1.0 + order) ** ZIPF
        return np.asarray(weights / weights.sum())

    @cached_property
    def _drifted_mix(self) -> NDArray[np.float64]:
        hit = [bool(DRIFT_FACTS & {*i.eligibility.needs_all, *i.eligibility.needs_any}) for i in self.intents]
        weights = self._usual_mix * np.where(hit, DRIFT_FACTOR, 1.0)
        return np.asarray(weights / weights.sum())

    def need_mix(self, at_ms: int) -> dict[str, float]:
        """The probability of each need among sessions that have one, at a time; sums to 1."""
        return {intent.id: float(share) for intent, share in zip(self.intents, self._mix(at_ms), strict=True)}

    def shopper(self, number: int) -> Shopper:
        """Who makes session `number`: everybody once a round."""
        turn, place = divmod(number, self.shoppers)
        index = int(self._rng("turn", turn).permutation(self.shoppers)[place])
        spanish = self._rng("person", index).random() < SPANISH
        return Shopper(f"shopper-{index}", "es" if spanish else "en")

    def session(self, number: int, start_ms: int) -> Session:
        """Session `number`, begun at `start_ms`; event ids depend on the seed and the number alone."""
        rng = self._rng("session", number)
        shopper = self.shopper(number)
        need = self._need(start_ms, rng)
        revealed = need is not None and bool(rng.random() < REVEALED)
        words = self._phrases[need.id] if need and revealed else ()
        orders, idle = f"o{self.seed}-{number}", self.intents[int(rng.integers(len(self.intents)))]
        drafts = shopping.looking(idle, orders, rng)
        if need is not None:
            drafts = shopping.needing(need, words, orders, shopper.locale, rng)
        steps, at_ms = [], start_ms
        for index, (kind, told) in enumerate(drafts):
            delay_ms = round(float(rng.gamma(2.0, 1200.0)) / self.haste) + 1
            at_ms += delay_ms
            event = self._event(f"w{self.seed}-{number}-{index}", kind, told, shopper, at_ms)
            steps.append((delay_ms / 1000, event))
        return Session(number, shopper, need.id if need else None, revealed, start_ms, tuple(steps))

    def goodbye(self, session: Session, at_ms: int) -> UserEvent:
        """The last event of a session whose need was solved at `at_ms`: back to the home page."""
        name = f"w{self.seed}-{session.number}-bye"
        return self._event(name, EventKind.PAGE_VIEWED, {"page": PageClass.HOME}, session.shopper, at_ms)

    def relevance(self, need: str | None, intent_id: str) -> float:
        """How likely an examined prompt is clicked by somebody with this need; 0 without one."""
        if need is None:
            return 0.0
        if intent_id == need:
            return OWN
        mine, other = self.by_id.get(need), self.by_id.get(intent_id)
        if mine is None or other is None or mine.family != other.family:
            return STRANGER
        low, high = SIBLING
        return low + (high - low) * mmh3.hash(f"{self.seed}/{need}/{intent_id}", signed=False) / 2**32

    def click_probability(self, need: str | None, intent_id: str, position: int) -> float:
        """The oracle: P(click | a seen slate has `intent_id` at `position`) = examination x relevance."""
        return EXAMINATION[min(position, len(EXAMINATION)) - 1] * self.relevance(need, intent_id)

    def oracle_ctr(self, need: str | None, intent_ids: Sequence[str]) -> float:
        """The oracle's P(at least one click) on a seen slate with these intents at positions 1, 2, ..."""
        passed = [1.0 - self.click_probability(need, intent_id, k) for k, intent_id in enumerate(intent_ids, 1)]
        return 1.0 - float(np.prod(passed))

    def best_slate(self, need: str | None, eligible: Collection[str], k: int = 3) -> list[str]:
        """The slate that somebody who knew the need would show; ties by id."""
        return sorted(eligible, key=lambda intent_id: (-self.relevance(need, intent_id), intent_id))[:k]

    def respond(
        self, session: Session, decision: Decision, rng: np.random.Generator, at_ms: int, *, solved: bool = False
    ) -> list[Outcome]:
        """What the shopper does with a decision that reaches them at `at_ms`, in order of time.

        Nothing for a silent decision or an unseen slate; else `shown`, then clicks or, seldom, a dismissal.
        """
        if decision.decision != "show" or rng.random() < UNSEEN:
            return []
        need = None if solved else session.need
        shown_ms = at_ms + round(float(rng.gamma(2.0, 150.0)) / self.haste) + 1
        outcomes = [self._outcome(decision, OutcomeKind.SHOWN, shown_ms, None)]
        click_ms = shown_ms
        for prompt in decision.prompts:
            if rng.random() < self.click_probability(need, prompt.intent_id, prompt.position):
                click_ms += round(float(rng.gamma(2.0, 1500.0)) / self.haste) + 1
                outcomes.append(self._outcome(decision, OutcomeKind.CLICKED, click_ms, prompt))
        if len(outcomes) == 1 and rng.random() < (DISMISS_NEEDY if need else DISMISS_IDLE):
            dismissed_ms = shown_ms + round(float(rng.gamma(2.0, 2000.0)) / self.haste) + 1
            outcomes.append(self._outcome(decision, OutcomeKind.DISMISSED, dismissed_ms, None))
        return outcomes

    def answering(self, session: Session, decision: Decision) -> np.random.Generator:
        """The randomness of one answer: the same for the same trigger, whatever else happens and whenever."""
        return self._rng("answer", session.number, mmh3.hash(decision.trigger_event, signed=False))

    def _rng(self, purpose: str, *numbers: int) -> np.random.Generator:
        return np.random.default_rng([self.seed, mmh3.hash(purpose, signed=False), *numbers])

    def _need(self, at_ms: int, rng: np.random.Generator) -> Intent | None:
        has_need, drawn = rng.random() >= NO_NEED, rng.random()
        if not has_need:
            return None
        place = int(np.searchsorted(np.cumsum(self._mix(at_ms)), drawn, side="right"))
        return self.intents[min(place, len(self.intents) - 1)]

    def _event(
        self, event_id: str, kind: EventKind, told: Mapping[str, Any], shopper: Shopper, at_ms: int
    ) -> UserEvent:
        return UserEvent(
            id=event_id,
            source="/simulated",
            type=kind.value,
            time=from_ms(at_ms),
            tenant=self.tenant,
            user=shopper.id,
            locale=shopper.locale,
            data=EventData(**told),
        )

    def _outcome(self, decision: Decision, kind: OutcomeKind, at_ms: int, prompt: Prompt | None) -> Outcome:
        return Outcome(
            id=f"{decision.decision_id}:{kind}" + (f":{prompt.position}" if prompt else ""),
            decision_id=decision.decision_id,
            kind=kind,
            time=from_ms(at_ms),
            tenant=decision.tenant,
            user=decision.user,
            intent_id=prompt.intent_id if prompt else None,
            position=prompt.position if prompt else None,
        )
