"""The declared world's visits in order of time: as events that fall due, and with what their shoppers need.

It is the world that model v0 learned from, later: a seed chooses visits that v0 has not seen, never another world.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterator
from dataclasses import replace
from itertools import islice

from deploy.model_zero import SEED, SESSIONS
from features.canonical import canonical_event
from features.contract import to_ms
from features.events import UserEvent
from features.fold import fold
from features.knowledge import load
from features.prompt import is_telling, prompt_of
from features.state import UserState
from features.windows import DAY_MS
from tests.benchmarks.refreshing import Visited
from training.dials import Dials
from training.first_day import FIRST_DAY_MS
from training.traffic import arrivals
from training.words import load_phrases
from training.world import World

FLIPPING = 0.25
"""How often, from one event to the next, a need gives way to another one where needs flip within a visit."""
APART = 20_000
"""Visits between those of two seeds."""


def world(*, is_flipping: bool = False) -> World:
    """The declared world with its own dials, or with needs that flip."""
    dials = replace(Dials(), flip=FLIPPING) if is_flipping else Dials()
    return World(load(), load_phrases(), SEED, dials)


def lived(where: World, events_per_s: float, start_ms: int, seed: int) -> Iterator[tuple[UserEvent, int, str | None]]:
    """(event, session number, need after it) of overlapping visits, in order of time, without end."""
    waiting: list[tuple[int, int, int, UserEvent, str | None]] = []
    for session in arrivals(where, events_per_s, start_ms, first=SESSIONS + APART * seed):
        while waiting and waiting[0][0] < session.start_ms:
            _, number, _, event, need = heapq.heappop(waiting)
            yield event, number, need
        for place, (event, need) in enumerate(zip(session.events, session.needs, strict=True)):
            heapq.heappush(waiting, (to_ms(event.time), session.number, place, event, need))


def due(events_per_s: float, start_ms: int, seed: int) -> Iterator[UserEvent]:
    """Events of the declared world from `start_ms` on, in order of time."""
    return (event for event, _, _ in lived(world(), events_per_s, start_ms, seed))


def visited(where: World, events_per_s: float, count: int, seed: int) -> Iterator[Visited]:
    """The first `count` events, as a worker decodes them."""
    for event, session, need in islice(lived(where, events_per_s, FIRST_DAY_MS + DAY_MS, seed), count):
        decoded = canonical_event(event.to_json())
        assert decoded is not None, f"an event of the world is not canonical: {event}"
        yield Visited(decoded, to_ms(event.time), session, need)


def prompts(count: int, seed: int) -> list[str]:
    """`count` different prompts as a worker asks for them, in the order in which they arise."""
    states: dict[str, UserState] = {}
    found: dict[str, None] = {}
    for event, at_ms, _, _ in visited(world(), 10.0, 50 * count, seed):
        state = states.setdefault(event.key, UserState())
        fold(state, event, at_ms, at_ms)
        if is_telling(event):
            found[prompt_of(state, at_ms).text] = None
            if len(found) == count:
                break
    return list(found)
