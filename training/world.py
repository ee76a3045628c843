"""The declared world: simulated shoppers with latent needs, whose clicks follow a known oracle.

What it assumes, so that nobody mistakes it for people (training/WORLD.md says it at length): orders move from visit to
visit whatever anybody needs (`orders`); within a visit a need - an intent of the KB that is eligible by then - arises,
passes or gives way from event to event (`needs`); what happens next and what it tells depend on the need alone
(`habits`, `words`). A seen prompt is clicked with probability examination(position) x relevance(need, intent),
independently of the others; a click solves the need. Without a need nobody clicks.

Drift (`Dials.drift`) is a carrier strike together with a faulty voucher campaign: intents about delayed or lost parcels
and about rejected vouchers are needed `DRIFT_FACTOR` times as often as before.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from functools import cached_property
from typing import Any

import mmh3
import numpy as np

from features.contract import from_ms
from features.decisions import Decision, Outcome, OutcomeKind, Prompt
from features.events import EventData, EventKind, PageClass, UserEvent
from features.intent import Intent
from features.knowledge import KnowledgeBase
from training import shopping
from training.choices import F64, NO_NEED
from training.dials import Dials
from training.habits import Habits
from training.needs import Needs
from training.orders import LiveOrder, Orders
from training.visits import Session, Shopper, facts_of, order_facts
from training.words import Phrases

SPANISH = 0.2
UTC_OFFSETS_H: Mapping[str, tuple[int, ...]] = {"en": (-8, -5, 0, 1), "es": (-6, -3, 1)}
"""Where shoppers live, by their language."""
EVENTS = (4, 9)
"""The fewest and the most events of a visit, beside the news of orders."""
PACE_SIGMA, LONGEST_STEP_S = 1.2, 1200.0
"""Times between events are lognormal, with the spread of real shop sessions, and never open a new session."""
EXAMINATION = (1.0, 0.75, 0.55, 0.42, 0.33, 0.27, 0.22, 0.18, 0.15, 0.12)
"""The probability that a shopper looks at position 1, 2, ... of a slate on the screen, at a position bias of 1."""
OWN, SIBLING, STRANGER = 0.75, (0.06, 0.15), 0.004
"""Relevance of the need itself, the range for intents of its family, and that of all others."""
UNSEEN = 0.05
"""How often a slate is never seen."""
DISMISSED, TYPED = (0.08, 0.03), (0.01, 0.1)
"""How often an unclicked slate is dismissed, and else a question typed below it: without and with a need."""


class World:
    """A seeded world: the same (knowledge base, phrases, seed, dials) gives the same sessions and answers.

    `dials.users` people take turns, in a new random order each round. `haste` divides all waiting times. An intent
    without phrases is asked in the words of its KB examples.
    """

    def __init__(
        self,
        kb: KnowledgeBase,
        phrases: Phrases,
        seed: int,
        dials: Dials = Dials(),  # noqa: B008 - frozen
        *,
        tenant: str = "demo",
        haste: float = 1.0,
    ) -> None:
        self.intents = tuple(intent for intent in kb.intents if intent.status == "active")
        if not self.intents:
            raise ValueError(
                "the knowledge base has no active intent; expected at least one: nobody could need anything"
            )
        self.by_id: dict[str, Intent] = {intent.id: intent for intent in self.intents}
        self.place: dict[str, int] = {intent.id: place for place, intent in enumerate(self.intents)}
        self.seed, self.dials, self.tenant, self.haste = seed, dials, tenant, haste
        self.needs, self.habits = Needs(self.intents, seed, dials), Habits(self.intents, phrases, dials)
        self._orders = Orders(seed)

    def need_mix(self, at_ms: int) -> dict[str, float]:
        """How much each intent is wanted at a time by somebody for whom all are eligible; sums to 1."""
        return {i.id: float(share) for i, share in zip(self.intents, self.needs.mix(at_ms), strict=True)}

    def shopper(self, number: int) -> Shopper:
        """Who makes session `number`: everybody once a round."""
        turn, place = divmod(number, self.dials.users)
        index = int(self._rng("turn", turn).permutation(self.dials.users)[place])
        rng = self._rng("person", index)
        locale = "es" if rng.random() < SPANISH else "en"
        return Shopper(index, locale, int(rng.choice(UTC_OFFSETS_H[locale])))

    def session(self, number: int, start_ms: int) -> Session:
        """Session `number`, begun at `start_ms`; event ids depend on the seed and the number alone."""
        rng, shopper = self._rng("session", number), self.shopper(number)
        orders = self._orders.at(shopper.number, number // self.dials.users)
        steps: list[tuple[float, UserEvent]] = []
        needs: list[int] = []
        for (kind, told), need, delay_ms, at_ms in self._lived(shopper, orders, start_ms, rng):
            event = self.event(f"w{self.seed}-{number}-{len(steps)}", kind, told, shopper, at_ms)
            steps.append((delay_ms / 1000, event))
            needs.append(need)
        named = tuple(None if need == NO_NEED else self.intents[need].id for need in needs)
        return Session(number, shopper, orders, start_ms, tuple(steps), named)

    def _lived(
        self, shopper: Shopper, orders: tuple[LiveOrder, ...], start_ms: int, rng: np.random.Generator
    ) -> Iterator[tuple[shopping.Draft, int, int, int]]:
        """(what happens, the need after it, ms since the event before, its time) of one visit."""
        at_ms, need, facts = start_ms, NO_NEED, order_facts(orders)
        failing = self.needs.failing(start_ms)
        news = [shopping.order_news(order.status, order.id, rng) for order in orders if order.is_news]
        for step in range(len(news) + int(rng.integers(*EVENTS, endpoint=True))):
            delay_ms = self._delay_ms(rng)
            at_ms += delay_ms
            kind = news[step][0] if step < len(news) else self.habits.move(need, failing, rng)
            facts |= facts_of(kind)
            need = self.needs.next(need, self.needs.prior(facts, at_ms), is_first=step == 0, rng=rng)
            told = news[step][1] if step < len(news) else self.habits.told(kind, need, shopper.locale, at_ms, rng)
            yield (kind, told), need, delay_ms, at_ms

    def _delay_ms(self, rng: np.random.Generator) -> int:
        drawn_s = self.dials.pace_s * float(rng.lognormal(-(PACE_SIGMA**2) / 2, PACE_SIGMA))
        return round(1000 * min(drawn_s, LONGEST_STEP_S) / self.haste) + 1

    def goodbye(self, session: Session, at_ms: int) -> UserEvent:
        """The last event of a session whose need was solved at `at_ms`: back to the home page."""
        name = f"w{self.seed}-{session.number}-bye"
        return self.event(name, EventKind.PAGE_VIEWED, {"page": PageClass.HOME}, session.shopper, at_ms)

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

    @cached_property
    def relevances(self) -> F64:
        """`relevance` of every intent for every need, f64[N + 1, N]; the last row is that of no need."""
        rows = [[self.relevance(need, intent.id) for intent in self.intents] for need in (*self.by_id, None)]
        return np.array(rows)

    def examination(self, position: int) -> float:
        """How likely somebody who sees a slate looks at this position (from 1)."""
        return float(EXAMINATION[min(position, len(EXAMINATION)) - 1] ** self.dials.position_bias)

    def click_probability(self, need: str | None, intent_id: str, position: int) -> float:
        """The oracle: P(click | a seen slate has `intent_id` at `position`) = examination x relevance."""
        return self.examination(position) * self.relevance(need, intent_id)

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

        Nothing for a silent decision or an unseen slate; else `shown`, then clicks or, seldom, a dismissal or a typed
        question; all before the shopper does the next thing, if the decision came before that.
        """
        if decision.decision != "show" or rng.random() < UNSEEN:
            return []
        need = None if solved else session.need_at(decision.trigger_event)
        waits = np.cumsum([rng.gamma(2.0, 150.0), *rng.gamma(2.0, 1500.0, len(decision.prompts) + 1)]) / self.haste
        waits *= min(1.0, 0.9 * session.patience_ms(decision.trigger_event, at_ms) / waits[-1])
        due = (at_ms + round(wait) + 1 for wait in waits)
        outcomes = [self._outcome(decision, OutcomeKind.SHOWN, next(due), None)]
        outcomes += [
            self._outcome(decision, OutcomeKind.CLICKED, next(due), prompt)
            for prompt in decision.prompts
            if rng.random() < self.click_probability(need, prompt.intent_id, prompt.position)
        ]
        if len(outcomes) == 1:
            outcomes += self._unclicked(decision, need, session.shopper.locale, next(due), rng)
        return outcomes

    def _unclicked(
        self, decision: Decision, need: str | None, locale: str, at_ms: int, rng: np.random.Generator
    ) -> list[Outcome]:
        has_need = need is not None
        if rng.random() < DISMISSED[has_need]:
            return [self._outcome(decision, OutcomeKind.DISMISSED, at_ms, None)]
        if rng.random() < TYPED[has_need]:
            text = self.habits.chats(locale, at_ms).draw(NO_NEED if need is None else self.place[need], rng)
            return [self._outcome(decision, OutcomeKind.TYPED_QUERY, at_ms, None, text)]
        return []

    def answering(self, session: Session, decision: Decision) -> np.random.Generator:
        """The randomness of one answer: the same for the same trigger, whatever else happens and whenever."""
        return self._rng("answer", session.number, mmh3.hash(decision.trigger_event, signed=False))

    def event(self, event_id: str, kind: EventKind, told: Mapping[str, Any], shopper: Shopper, at_ms: int) -> UserEvent:
        """Something that a shopper did, or that happened to their order."""
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

    def _outcome(
        self, decision: Decision, kind: OutcomeKind, at_ms: int, prompt: Prompt | None, text: str | None = None
    ) -> Outcome:
        return Outcome(
            id=f"{decision.decision_id}:{kind}" + (f":{prompt.position}" if prompt else ""),
            decision_id=decision.decision_id,
            kind=kind,
            time=from_ms(at_ms),
            tenant=decision.tenant,
            user=decision.user,
            intent_id=prompt.intent_id if prompt else None,
            position=prompt.position if prompt else None,
            text=text,
        )

    def _rng(self, purpose: str, *numbers: int) -> np.random.Generator:
        return np.random.default_rng([self.seed, mmh3.hash(purpose, signed=False), *numbers])
