"""Questions out of the declared world: what a prompt tells of a shopper, and the need that is behind it (simulated).

The visits are those on which results are told (`training.science_world`), with the prompts as they are served. A visit
with a need asks one question: at its last trigger of a set before the need was solved, among all active intents.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator

from features.events import UserEvent
from features.knowledge import KnowledgeBase
from features.models import Progress
from features.prompt import SLOT, is_telling
from training.questions import Question, QuestionSet, answer_of, sampled
from training.science_world import Informed, visits
from training.shop import LoggedDecision, Shop
from training.visits import Session
from training.world import World

TITLES = {
    "world_typed": "the world: English, something just typed",
    "world_silent": "the world: English, nothing typed in this visit",
    "world_spanish": "the world: Spanish, something just typed",
}
MOST_ROUNDS = 4
"""So often every shopper comes, unless the sets are full before."""


def world_questions(kb: KnowledgeBase, world: World, most: int, seed: int, progress: Progress) -> list[QuestionSet]:
    """A set of at most `most` questions for each of `TITLES`, in its order."""
    found: dict[str, list[Question]] = defaultdict(list)
    total, full = MOST_ROUNDS * world.dials.users, len(TITLES) * most
    for number, asked in enumerate(_asked(world, kb)):
        if asked is not None:
            found[asked[0]].append(asked[1])
        if number % world.dials.users == 0:
            progress("live through visits to the world", number, total)
            if sum(min(most, len(found[name])) for name in TITLES) == full:
                break
    progress("live through visits to the world", total, total)
    answers = tuple(answer_of(intent) for intent in world.intents)
    return [QuestionSet(name, title, answers, sampled(found[name], most, seed)) for name, title in TITLES.items()]


def _asked(world: World, kb: KnowledgeBase) -> Iterator[tuple[str, Question] | None]:
    """A visit's set and question, visit by visit; None for a visit that asks nothing."""
    policy = Informed(world)
    shop = Shop(world, kb, policy)
    for session in visits(world, MOST_ROUNDS):
        last: tuple[str, Question] | None = None
        for logged in shop.visit(session):
            need = None if policy.is_solved else session.need_at(logged.decision.trigger_event)
            name = _set_of(session, logged)
            if need is not None and name is not None:
                words = logged.prompt.removesuffix(SLOT)
                posterior = policy.knowing.needs[: len(world.intents)]
                last = name, Question(words, logged.prompt, need, session.shopper.id, posterior)
        yield last


def _set_of(session: Session, logged: LoggedDecision) -> str | None:
    """The set of a trigger's question; None where something came after the words, or a Spaniard typed none."""
    seen = list(_until(session, logged.decision.trigger_event))
    newest = next(filter(is_telling, reversed(seen)), None)
    if newest is not None and _has_words(newest):
        return "world_spanish" if session.shopper.locale == "es" else "world_typed"
    return None if session.shopper.locale == "es" or any(map(_has_words, seen)) else "world_silent"


def _until(session: Session, event_id: str) -> Iterator[UserEvent]:
    for event in session.events:
        yield event
        if event.id == event_id:
            return


def _has_words(event: UserEvent) -> bool:
    return bool(event.data.query or event.data.text)
