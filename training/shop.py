"""A shop that plays sessions without network or clock: it folds what happens, decides at triggers, and hears outcomes.

Which slate is shown is a `Policy`'s; facts, feature rows and prompts are those of the serving path.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from itertools import count
from typing import Protocol

import numpy as np

from features import schema
from features.contract import to_ms
from features.decisions import Candidates, Decision, Excluded, Outcome, Prompt, QueryEmbedding, Versions
from features.events import EventKind, PageClass, UserEvent
from features.feedback import FeedbackState, fold_outcome
from features.fold import fold
from features.knowledge import KnowledgeBase
from features.prompt import render, state_hash
from features.state import UserState, facts
from training.tickets import Pool
from training.traffic import LiveShopper
from training.visits import Session
from training.world import World

_SPACE = uuid.UUID("a6c1c1a8-2f0e-5b59-9d0b-6b1f0a3d7c11")
TRIGGERS = frozenset(
    {
        EventKind.HELP_PAGE_OPENED, EventKind.CHAT_OPENED, EventKind.PAYMENT_FAILED, EventKind.VOUCHER_REJECTED,
        EventKind.PARCEL_DELAYED, EventKind.RETURN_REQUESTED, EventKind.SIGN_IN_FAILED,
    }
)  # fmt: skip
TRIGGER_PAGES = frozenset({PageClass.HELP, PageClass.ORDER, PageClass.RETURNS, PageClass.CHECKOUT, PageClass.ACCOUNT})
"""The events and viewed pages at which a decision is made: the defaults of the serving policy."""


@dataclass(frozen=True, slots=True)
class LoggedDecision:
    """A decision, what became of it, and the prompt whose hash is `decision.embedding.state_hash`."""

    decision: Decision
    outcomes: tuple[Outcome, ...]
    prompt: str


class Policy(Protocol):
    """What is shown; it may follow what the shop's log says of the visit that is being played."""

    name: str

    def begins(self, session: Session) -> None:
        """A visit begins; the policy may not look at what is to come."""

    def saw(self, event: UserEvent) -> None:
        """The next event of the visit."""

    def answered(self, decision: Decision, outcomes: tuple[Outcome, ...]) -> None:
        """All that became of a decision of the visit."""

    def pool(self, eligible: list[str], visit: frozenset[str], page: PageClass | None) -> Pool:
        """The weights by which a slate is drawn from what is eligible, by the facts of this visit and its page."""


Wording = Callable[[UserState, UserState, int, str], str]
"""(what is known of the user, what this visit alone told, now in ms, locale) -> the prompt."""


def in_full(state: UserState, _visit: UserState, now_ms: int, locale: str) -> str:
    """The prompt as it is served."""
    return render(state, now_ms, locale)


def is_trigger(event: UserEvent) -> bool:
    """Whether a decision is made at this event."""
    return event.kind in TRIGGERS or (event.kind is EventKind.PAGE_VIEWED and event.data.page in TRIGGER_PAGES)


@dataclass
class Shop:
    """What is known of every user so far, and how slates are drawn."""

    world: World
    kb: KnowledgeBase
    policy: Policy
    wording: Wording = in_full
    states: dict[str, UserState] = field(default_factory=dict)
    feedback: dict[str, FeedbackState] = field(default_factory=dict)
    able: dict[tuple[frozenset[str], bool], list[str]] = field(default_factory=dict)
    offsets: Iterator[int] = field(default_factory=count)

    def __post_init__(self) -> None:
        self._versions = Versions(
            model="none", kb=self.kb.version, features=schema.fingerprint(), policy=self.policy.name
        )

    def visit(self, session: Session) -> Iterator[LoggedDecision]:
        """Plays a session; outcomes are folded before the next event that is younger than they are."""
        self.policy.begins(session)
        live, waiting, visit = LiveShopper(self.world, session), list[Outcome](), UserState()
        while (event := live.next_event()) is not None:
            at_ms = to_ms(event.time)
            state = self.states.setdefault(event.key, UserState())
            feedback = self.feedback.setdefault(event.key, FeedbackState())
            waiting = _fold_due(feedback, waiting, at_ms)
            fold(state, event, at_ms, at_ms)
            fold(visit, event, at_ms, at_ms)
            offset = next(self.offsets)
            self.policy.saw(event)
            if is_trigger(event):
                logged = self._decide(state, feedback, event, offset, visit)
                outcomes = tuple(live.on_decision(logged.decision, at_ms))
                waiting += outcomes
                yield LoggedDecision(logged.decision, outcomes, logged.prompt)
                self.policy.answered(logged.decision, outcomes)
        _fold_due(self.feedback[session.events[0].key], waiting, None)

    def _decide(
        self, state: UserState, feedback: FeedbackState, event: UserEvent, offset: int, visit: UserState
    ) -> LoggedDecision:
        at_ms = to_ms(event.time)
        reasons = _answered(feedback, state.session_start_ms)
        able = self._able(facts(state, at_ms), at_ms)
        eligible = [intent_id for intent_id in able if intent_id not in reasons]
        prompts, propensity = self._slate(self.policy.pool(eligible, facts(visit, at_ms), event.data.page), event)
        prompt = self.wording(state, visit, at_ms, event.locale)
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
            versions=self._versions,
            embedding=QueryEmbedding(state="null", space_id="none", state_hash=state_hash(prompt)),
            trigger_event=event.id,
            trigger_type=event.type,
            trigger_offset=f"{self.policy.name}[0]@{offset}",
            latency_ms=0.0,
        )
        if prompts:
            state.prompted(at_ms)
        return LoggedDecision(decision, (), prompt)

    def _able(self, true: frozenset[str], at_ms: int) -> list[str]:
        """What is eligible by the facts, of the intents that there are by then."""
        is_launched = at_ms >= self.world.dials.new_from_ms
        if (true, is_launched) not in self.able:
            able = self.world.needs.eligible(true) & self.world.needs.live(at_ms)
            self.able[true, is_launched] = [self.world.intents[place].id for place in np.flatnonzero(able)]
        return self.able[true, is_launched]

    def _slate(self, pool: Pool, event: UserEvent) -> tuple[list[Prompt], float]:
        """The slate, and its propensity."""
        rng = np.random.default_rng([self.world.seed, uuid.uuid5(_SPACE, event.id).int % 2**63])
        slate = pool.draw(rng)
        prompts = [
            self._prompt(pool.ids[index], event.locale, place + 1, pool.item_propensity(index, place))
            for place, index in enumerate(slate)
        ]
        return prompts, pool.slate_propensity(slate)

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
