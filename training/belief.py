"""What can be known of a need: the Bayes posterior given a visitor's log so far, by exact filtering.

The filter knows every law of the world and sees what a ranker may see: the events up to now, and what became of the
slates before. The log-odds of no scorer that sees the same can be better in expectation. With the laws of `training.
needs` (spread) and `training.habits` (likelihoods), for an event e of kind k after the belief b over N needs and none

    b'(z)  =  P(data of e | k, z)  x  sum over y of  P(z | y, facts)  P(k | y)  b(y),     then scaled to sum to 1

and for a seen slate without a click  b'(z) = b(z) P(what was done instead | z) x prod over k of (1 - examination(k)
relevance(z, i_k)). A click solves the need. With `reads=False` it is blind to all words (searches, chats, error texts,
goods, topics, typed questions): what kinds, pages and facts alone can tell.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from features.contract import to_ms
from features.decisions import Decision, Outcome, OutcomeKind
from features.events import EventKind, UserEvent
from training.choices import F64, NO_NEED
from training.visits import Session, facts_of, is_order_news, order_facts
from training.world import DISMISSED, TYPED, World


class Belief:
    """The posterior over the needs of one visit, f64[N + 1], event by event; the last is that of no need."""

    def __init__(self, world: World, session: Session, *, reads: bool = True) -> None:
        self._world, self._reads = world, reads
        self._facts = order_facts(session.orders)
        self._failing = world.needs.failing(session.start_ms)
        self._is_first, self.is_solved = True, False
        self._locale = session.shopper.locale
        self.needs = np.zeros(len(world.intents) + 1)
        self.needs[NO_NEED] = 1.0

    def saw(self, event: UserEvent) -> None:
        """Learns from the next event of the visit."""
        self._facts |= facts_of(event.kind)
        if self.is_solved:
            return
        habits, needs, is_news = self._world.habits, self._world.needs, is_order_news(event.kind)
        before = self.needs if is_news else self.needs * habits.move_likelihood(event.kind, self._failing)
        after = needs.spread(before, needs.prior(self._facts, to_ms(event.time)), is_first=self._is_first)
        self._is_first = False
        if not is_news and (self._reads or event.kind is EventKind.PAGE_VIEWED):
            after = after * habits.told_likelihood(event)
        self._become(after)

    def answered(self, decision: Decision, outcomes: Sequence[Outcome]) -> None:
        """Learns from what became of a slate, all of it."""
        done = {outcome.kind: outcome for outcome in outcomes}
        if OutcomeKind.CLICKED in done:
            self.is_solved = True
            self._become(np.append(np.zeros(len(self._world.intents)), 1.0))
        elif OutcomeKind.SHOWN in done and not self.is_solved:
            self._become(self.needs * self._unclicked(decision, done))

    def relevance(self) -> F64:
        """The expected relevance of each intent, f64[N]: P(click | a seen slate has it first and nothing else)."""
        return np.asarray(self.needs @ self._world.relevances)

    def _unclicked(self, decision: Decision, done: dict[OutcomeKind, Outcome]) -> F64:
        passed = np.ones(len(self.needs))
        for prompt in decision.prompts:
            place, looked = self._world.place[prompt.intent_id], self._world.examination(prompt.position)
            passed *= 1 - looked * self._world.relevances[:, place]
        if OutcomeKind.DISMISSED in done:
            return passed * self._each(DISMISSED)
        passed *= 1 - self._each(DISMISSED)
        if (typed := done.get(OutcomeKind.TYPED_QUERY)) is None:
            return np.asarray(passed * (1 - self._each(TYPED)))
        chats = self._world.habits.chats(self._locale, to_ms(typed.time))
        words = chats.likelihood(typed.text or "") if self._reads else 1.0
        return np.asarray(passed * self._each(TYPED) * words)

    def _each(self, without_and_with: tuple[float, float]) -> F64:
        chances = np.full(len(self.needs), without_and_with[1])
        chances[NO_NEED] = without_and_with[0]
        return chances

    def _become(self, weights: F64) -> None:
        """Raises ValueError if the log is none of this world's: nothing that could have led to it is left."""
        if (total := weights.sum()) <= 0:
            raise ValueError("found an event that no need could have led to; expected the log of a visit to this world")
        self.needs = weights / total
