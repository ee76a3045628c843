"""The world as the results are told in it: every request with its slate, its answer, and what could be known of it.

Every shopper comes once a round, at an hour of their own day. Until a ranker takes over, slates are drawn by
`Informed`: Plackett-Luce by what kinds, pages and facts tell (never words), so that two worlds which differ in nothing
but the semantic share log the same visits, slates and clicks, and differ in words alone.

The prompt of a request says the last words of the visit and nothing else (facts are in the feature row, for every
ranker alike): so the prompts are those of `bank`, whatever the world's seed and dials, and can be embedded once.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import mmh3
import numpy as np

from features.decisions import Decision, Outcome
from features.events import EventKind, PageClass, UserEvent
from features.knowledge import KnowledgeBase
from features.prompt import render
from features.state import Failure, UserState
from training import shopping
from training.belief import Belief
from training.choices import F64
from training.dials import Dials
from training.habits import FAILURES
from training.needs import DAY_MS
from training.shop import LoggedDecision, Shop
from training.tickets import Pool
from training.visits import Session
from training.words import Phrases, Words
from training.world import World

START_MS = 1_735_689_600_000
"""When the first round begins: 2025-01-01T00:00Z."""
EXPLORED, SHARPNESS = 0.1, 2
"""The part of a slate's weights that is spread evenly, and the power of the expected relevance in the others."""
HOURS = (1, 1, 0.5, 0.5, 0.5, 1, 2, 3, 4, 5, 5, 6, 7, 6, 5, 5, 5, 6, 7, 9, 10, 9, 6, 3)
"""How many visits begin in each hour of a shopper's day, relative to each other."""


@dataclass(frozen=True, slots=True, eq=False)
class Request:
    """One trigger, the logged slate and answer, and what was behind it, over the world's N intents.

    `need` is the truth (None = no need, or solved); `posterior` f64[N + 1] is the Bayes posterior after the trigger
    given the visit's log, `blind` the same without any word; the last column is that of no need.
    """

    session: Session
    decision: Decision
    outcomes: tuple[Outcome, ...]
    prompt: str
    need: str | None
    posterior: F64
    blind: F64


def requests(world: World, kb: KnowledgeBase, rounds: int, *, round_days: float = 1.0) -> Iterator[Request]:
    """Every shopper's visit of every round, in order of the visits' start; the same arguments give the same requests.

    The prompt's hash is `decision.embedding.state_hash`.
    """
    policy = Informed(world)
    shop = Shop(world, kb, policy, wording=last_words)
    for session in visits(world, rounds, round_days=round_days):
        for logged in shop.visit(session):
            yield _request(world, session, logged, policy)


def _request(world: World, session: Session, logged: LoggedDecision, policy: Informed) -> Request:
    is_solved = policy.is_solved
    need = None if is_solved else session.need_at(logged.decision.trigger_event)
    return Request(
        session, logged.decision, logged.outcomes, logged.prompt, need, policy.knowing.needs, policy.blind.needs
    )


def visits(world: World, rounds: int, *, round_days: float = 1.0) -> Iterator[Session]:
    """Round by round, the visit of every shopper, in order of their start."""
    users = world.dials.users
    for turn in range(rounds):
        starts = [(_start_ms(world, number, turn, round_days), number) for number in _of(turn, users)]
        for start_ms, number in sorted(starts):
            yield world.session(number, start_ms)


def _of(turn: int, users: int) -> range:
    return range(turn * users, (turn + 1) * users)


def _start_ms(world: World, number: int, turn: int, round_days: float) -> int:
    """Some day of the round, at an hour of the shopper's own day."""
    rng = np.random.default_rng([world.seed, mmh3.hash("calendar", signed=False), number])
    days = turn * round_days + rng.integers(max(int(round_days), 1))
    hour = rng.choice(24, p=np.array(HOURS) / sum(HOURS)) + rng.random() - world.shopper(number).utc_offset_h
    return START_MS + round(days * DAY_MS + hour % 24 / 24 * DAY_MS)


class Informed:
    """Slates by the expected relevance that kinds, pages and facts tell, mixed with chance."""

    name = "informed"

    def __init__(self, world: World) -> None:
        self._world = world

    def begins(self, session: Session) -> None:
        """Nothing is known of the visit yet."""
        self.knowing, self.blind = Belief(self._world, session), Belief(self._world, session, reads=False)

    @property
    def is_solved(self) -> bool:
        """Whether the visitor found what they needed."""
        return self.knowing.is_solved

    def saw(self, event: UserEvent) -> None:
        """Both beliefs follow, the one with and the one without words."""
        self.knowing.saw(event)
        self.blind.saw(event)

    def answered(self, decision: Decision, outcomes: tuple[Outcome, ...]) -> None:
        """Both beliefs learn from the answer."""
        self.knowing.answered(decision, outcomes)
        self.blind.answered(decision, outcomes)

    def pool(self, eligible: list[str], visit: frozenset[str], page: PageClass | None) -> Pool:
        """Weights by the expected relevance, blind to words."""
        places = [self._world.place[intent_id] for intent_id in eligible]
        weights = self.blind.relevance()[places] ** SHARPNESS
        even = np.full(len(eligible), 1 / max(len(eligible), 1))
        share = weights / weights.sum() if weights.any() else even
        return Pool(tuple(eligible), (1 - EXPLORED) * share + EXPLORED * even)


def last_words(_state: UserState, visit: UserState, now_ms: int, _locale: str) -> str:
    """The prompt of a user of whom nothing is known but the last words of this visit, said just now."""
    told = [
        (visit.last_search_ms, UserState(last_search=visit.last_search, last_search_ms=now_ms)),
        (visit.last_help_ms, UserState(last_help_topic=visit.last_help_topic, last_help_ms=now_ms)),
        (visit.last_text_ms, UserState(last_text=visit.last_text, last_text_ms=now_ms)),
        *((failure.at_ms, _failed(kind, failure, now_ms)) for kind, failure in visit.failures.items()),
    ]
    at_ms, said = max(told, key=lambda one: one[0])
    return render(said if at_ms else UserState(), now_ms)


def _failed(kind: str, failure: Failure, now_ms: int) -> UserState:
    return UserState(failures={kind: Failure(failure.what, failure.error, now_ms)})


def bank(kb: KnowledgeBase, phrases: Phrases) -> tuple[str, ...]:
    """Every prompt that `last_words` can give in a world of this knowledge base, sorted."""
    intents = [intent for intent in kb.intents if intent.status == "active"]
    worded = [Words(intents, phrases, Dials()).of(locale, START_MS) for locale in ("en", "es")]
    topics = ["help centre", *(family.replace("_", " ") for family in kb.families)]
    now_ms = START_MS
    said = [
        UserState(),
        *(UserState(last_search=text, last_search_ms=now_ms) for one in worded for text in one.searches.options),
        *(UserState(last_text=text, last_text_ms=now_ms) for one in worded for text in one.chats.options),
        *(UserState(last_help_topic=topic, last_help_ms=now_ms) for topic in topics),
        *(_failed(kind, failure, now_ms) for kind in FAILURES for failure in _failures(kind)),
    ]
    return tuple(sorted({render(state, now_ms) for state in said}))


def _failures(kind: EventKind) -> Iterator[Failure]:
    methods = shopping.METHODS if kind is EventKind.PAYMENT_FAILED else ("",)
    return (Failure(method, error, 0) for method in methods for error in shopping.ERRORS[kind])
