"""The first day, before there is a model: slates by last month's tickets in the simulated world.

The rule and its propensities are those of `training.tickets`; the tickets are the world's usual mix of needs, which a
shop that answers its customers by hand has counted.
"""

from __future__ import annotations

from collections.abc import Iterator

from features.decisions import Decision, Outcome
from features.events import PageClass, UserEvent
from features.knowledge import KnowledgeBase
from training import tickets
from training.shop import TRIGGER_PAGES, TRIGGERS, LoggedDecision, Shop, is_trigger
from training.visits import Session
from training.words import Phrases, load_phrases
from training.world import World

__all__ = ["FIRST_DAY_MS", "TRIGGERS", "TRIGGER_PAGES", "LoggedDecision", "first_day", "is_trigger", "lived"]

DAY_MS = 24 * 60 * 60 * 1000
FIRST_DAY_MS = 1_735_689_600_000
"""When the first day begins unless told otherwise: 2025-01-01T00:00Z."""


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
    day = Shop(world, kb, ByTickets(kb, world))
    for number in range(sessions):
        session = world.session(number, start_ms + number * DAY_MS // sessions)
        for logged in day.visit(session):
            yield session, logged


class ByTickets:
    """The first day's policy: the rule of `training.tickets`, from the tickets of the days before."""

    name = "first-day"

    def __init__(self, kb: KnowledgeBase, world: World) -> None:
        self._rule = tickets.Rule(kb, world.need_mix(FIRST_DAY_MS))
        self._pools: dict[tuple[tuple[str, ...], frozenset[str], PageClass | None], tickets.Pool] = {}

    def begins(self, session: Session) -> None:
        """Every visit is alike."""

    def saw(self, event: UserEvent) -> None:
        """Facts and page are enough."""

    def answered(self, decision: Decision, outcomes: tuple[Outcome, ...]) -> None:
        """Nothing is learned on the first day."""

    def pool(self, eligible: list[str], visit: frozenset[str], page: PageClass | None) -> tickets.Pool:
        """The rule's weights."""
        key = tuple(eligible), visit, page
        if key not in self._pools:
            self._pools[key] = self._rule.pool(eligible, visit, page)
        return self._pools[key]
