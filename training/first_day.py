"""The first day, before there is a model: slates by last month's tickets in the simulated world.

The rule and its propensities are those of `training.tickets`; the tickets are the world's usual mix of needs, which a
shop that answers its customers by hand has counted.
"""

from __future__ import annotations

import uuid
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from functools import cached_property
from itertools import count

import numpy as np

from features import schema
from features.contract import to_ms
from features.events import (
    Candidates,
    Decision,
    EventKind,
    Excluded,
    Outcome,
    PageClass,
    Prompt,
    QueryEmbedding,
    UserEvent,
    Versions,
)
from features.feedback import FeedbackState, fold_outcome
from features.fold import fold
from features.knowledge import KnowledgeBase
from features.prompt import render, state_hash
from features.state import UserState, facts
from training import tickets
from training.traffic import LiveShopper
from training.world import Phrases, Session, World, load_phrases

TRIGGERS = frozenset(
    {
        EventKind.HELP_PAGE_OPENED, EventKind.CHAT_OPENED, EventKind.PAYMENT_FAILED, EventKind.VOUCHER_REJECTED,
        EventKind.PARCEL_DELAYED, EventKind.RETURN_REQUESTED, EventKind.SIGN_IN_FAILED,
    }
)  # fmt: skip
TRIGGER_PAGES = frozenset({PageClass.HELP, PageClass.ORDER, PageClass.RETURNS, PageClass.CHECKOUT, PageClass.ACCOUNT})
"""The events and viewed pages at which a decision is made: the defaults of the serving policy."""
DAY_MS = 24 * 60 * 60 * 1000
FIRST_DAY_MS = 1_735_689_600_000
"""When the first day begins unless told otherwise: 2025-01-01T00:00Z."""
_SPACE = uuid.UUID("a6c1c1a8-2f0e-5b59-9d0b-6b1f0a3d7c11")


@dataclass(frozen=True, slots=True)
class LoggedDecision:
    """A decision, what became of it, and the prompt whose hash is `decision.embedding.state_hash`."""

    decision: Decision
    outcomes: tuple[Outcome, ...]
    prompt: str


def first_day(
    kb: KnowledgeBase, seed: int, sessions: int, *, start_ms: int = FIRST_DAY_MS, phrases: Phrases | None = None
) -> list[LoggedDecision]:
    """`sessions` visits spread over a day without drift, each trigger answered with a slate by tickets.

    The same arguments give the same log.
    """
    world = World(kb, load_phrases() if phrases is None else phrases, seed)
    return [logged for _, logged in lived(world, kb, sessions, start_ms)]


def lived(world: World, kb: KnowledgeBase, sessions: int, start_ms: int) -> Iterator[tuple[Session, LoggedDecision]]:
    """The day session by session, with the session (and so the need) behind every decision."""
    day = _Day(world, kb)
    for number in range(sessions):
        session = world.session(number, start_ms + number * DAY_MS // sessions)
        for logged in day.visit(session):
            yield session, logged


def is_trigger(event: UserEvent) -> bool:
    """Whether a decision is made at this event."""
    return event.kind in TRIGGERS or (event.kind is EventKind.PAGE_VIEWED and event.data.page in TRIGGER_PAGES)


@dataclass
class _Day:
    """What is known of every user so far."""

    world: World
    kb: KnowledgeBase
    states: dict[str, UserState] = field(default_factory=dict)
    feedback: dict[str, FeedbackState] = field(default_factory=dict)
    able: dict[frozenset[str], list[str]] = field(default_factory=dict)
    pools: dict[tuple[tuple[str, ...], frozenset[str], PageClass | None], tickets.Pool] = field(default_factory=dict)
    offsets: Iterator[int] = field(default_factory=count)

    @cached_property
    def rule(self) -> tickets.Rule:
        """The day's policy, from the tickets of the days before."""
        return tickets.Rule(self.kb, self.world.need_mix(FIRST_DAY_MS))

    @cached_property
    def versions(self) -> Versions:
        """What every decision of the day was made with."""
        return Versions(model="none", kb=self.kb.version, features=schema.fingerprint(), policy="first-day")

    def visit(self, session: Session) -> Iterator[LoggedDecision]:
        """Plays a session; outcomes are folded before the next event that is younger than they are."""
        live, waiting, visit = LiveShopper(self.world, session), list[Outcome](), UserState()
        while (event := live.next_event()) is not None:
            at_ms = to_ms(event.time)
            state = self.states.setdefault(event.key, UserState())
            feedback = self.feedback.setdefault(event.key, FeedbackState())
            waiting = _fold_due(feedback, waiting, at_ms)
            fold(state, event, at_ms, at_ms)
            fold(visit, event, at_ms, at_ms)
            offset = next(self.offsets)
            if is_trigger(event):
                logged = self._decide(state, feedback, event, offset, facts(visit, at_ms))
                outcomes = tuple(live.on_decision(logged.decision, at_ms))
                waiting += outcomes
                yield LoggedDecision(logged.decision, outcomes, logged.prompt)
        _fold_due(self.feedback[session.events[0].key], waiting, None)

    def _decide(
        self, state: UserState, feedback: FeedbackState, event: UserEvent, offset: int, visit: frozenset[str]
    ) -> LoggedDecision:
        at_ms = to_ms(event.time)
        reasons = _answered(feedback, state.session_start_ms)
        able = self._able(facts(state, at_ms))
        eligible = [intent_id for intent_id in able if intent_id not in reasons]
        prompts, propensity = self._slate(self._pool(eligible, visit, event.data.page), event)
        prompt = render(state, at_ms, event.locale)
        decision = Decision(
            decision_id=str(uuid.uuid5(_SPACE, f"{event.key}/{event.id}")),
            tenant=event.tenant,
            user=event.user,
            session=state.session_id,
            decision="show" if prompts else "silent",
            reason="ranked" if prompts else "nothing_eligible",
            time=event.time,
            made_at=event.time,
            prompts=prompts,
            slate_propensity=propensity,
            candidates=Candidates(intent_ids=eligible, scores=[0.0] * len(eligible)),
            excluded=[Excluded(intent_id=i, reason=reasons[i]) for i in able if i in reasons],
            features=schema.feature_row(state, feedback, event, at_ms),
            versions=self.versions,
            embedding=QueryEmbedding(state="null", space_id="none", state_hash=state_hash(prompt)),
            trigger_event=event.id,
            trigger_type=event.type,
            trigger_offset=f"first-day[0]@{offset}",
            latency_ms=0.0,
        )
        if prompts:
            state.prompted(at_ms)
        return LoggedDecision(decision, (), prompt)

    def _able(self, true: frozenset[str]) -> list[str]:
        if true not in self.able:
            self.able[true] = [intent.id for intent in self.kb.eligible(true)]
        return self.able[true]

    def _slate(self, pool: tickets.Pool, event: UserEvent) -> tuple[list[Prompt], float]:
        """The slate, and its propensity."""
        rng = np.random.default_rng([self.world.seed, uuid.uuid5(_SPACE, event.id).int % 2**63])
        slate = pool.draw(rng)
        prompts = [
            self._prompt(pool.ids[index], event.locale, place + 1, pool.item_propensity(index, place))
            for place, index in enumerate(slate)
        ]
        return prompts, pool.slate_propensity(slate)

    def _pool(self, eligible: list[str], visit: frozenset[str], page: PageClass | None) -> tickets.Pool:
        key = tuple(eligible), visit, page
        if key not in self.pools:
            self.pools[key] = self.rule.pool(eligible, visit, page)
        return self.pools[key]

    def _prompt(self, intent_id: str, locale: str, position: int, propensity: float) -> Prompt:
        text = self.kb.by_id[intent_id].display(locale)
        return Prompt(
            intent_id=intent_id,
            text=text.title,
            locale=text.locale,
            position=position,
            score=0.0,
            propensity=propensity,
            explored=True,
        )


def _fold_due(feedback: FeedbackState, waiting: Iterable[Outcome], now_ms: int | None) -> list[Outcome]:
    """Folds the outcomes up to `now_ms` (None = all) in order of time and returns the rest."""
    later = []
    for outcome in sorted(waiting, key=lambda o: o.time):
        at_ms = to_ms(outcome.time)
        if now_ms is None or at_ms <= now_ms:
            fold_outcome(feedback, outcome, at_ms)
        else:
            later.append(outcome)
    return later


def _answered(feedback: FeedbackState, since_ms: int) -> dict[str, str]:
    reasons = dict.fromkeys(feedback.dismissed_since(since_ms), "dismissed")
    return reasons | dict.fromkeys(feedback.clicked_since(since_ms), "already_clicked")
