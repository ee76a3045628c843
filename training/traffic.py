"""The world as a stream without input or output: sessions that fall due, and shoppers who act and answer."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator

from features.contract import to_ms
from features.decisions import Decision, Outcome, OutcomeKind
from features.events import UserEvent
from training.visits import Session
from training.world import World

FAREWELL_MS = 1500
"""How long after the click that solved the need a shopper says goodbye."""
_SAMPLE = 200


def arrivals(world: World, events_per_s: float, start_ms: int, first: int = 0) -> Iterator[Session]:
    """Sessions `first`, `first` + 1, ... in order of their start, endless, for `events_per_s` on average.

    Starts depend on the world's seed and the numbers alone: the first 200 sessions are asked for their mean length.
    """
    if events_per_s <= 0:
        raise ValueError(f"events_per_s is {events_per_s}; expected a positive rate, e.g. 20")
    mean_events = sum(len(world.session(n, start_ms).steps) for n in range(_SAMPLE)) / _SAMPLE
    gap_ms = 1000 * mean_events / events_per_s
    number = first
    while True:
        yield world.session(number, start_ms + round((number - first) * gap_ms))
        number += 1


class LiveShopper:
    """One session as it is lived: events that fall due, and answers to decisions; the driver owns the clock."""

    def __init__(self, world: World, session: Session) -> None:
        self.world, self.session = world, session
        self._waiting = deque(event for event in session.events)
        self._solved_ms: int | None = None
        self._events = frozenset(event.id for event in session.events)
        self._answered: set[str] = set()

    @property
    def next_due_ms(self) -> int | None:
        """When the next event happens; None when the session is over."""
        return to_ms(self._waiting[0].time) if self._waiting else None

    @property
    def is_solved(self) -> bool:
        """Whether the shopper found what they needed."""
        return self._solved_ms is not None

    def next_event(self) -> UserEvent | None:
        """Takes the next event, which is due at its own time; None when the session is over."""
        return self._waiting.popleft() if self._waiting else None

    def on_decision(self, decision: Decision, at_ms: int) -> list[Outcome]:
        """What the shopper does with a decision that reaches them at `at_ms`; each outcome is due at its time.

        A decision that another session triggered, one seen before, or one that refines it is answered with nothing.
        After a click the rest of the session is dropped but for a goodbye.
        """
        if decision.trigger_event not in self._events or {decision.decision_id, decision.refines} & self._answered:
            return []
        self._answered.add(decision.decision_id)
        rng = self.world.answering(self.session, decision)
        outcomes = self.world.respond(self.session, decision, rng, at_ms, solved=self.is_solved)
        clicks = [to_ms(o.time) for o in outcomes if o.kind is OutcomeKind.CLICKED]
        if clicks:
            self._solve(max(clicks))
        return outcomes

    def _solve(self, at_ms: int) -> None:
        self._solved_ms = at_ms
        started = [event for event in self._waiting if to_ms(event.time) <= at_ms]
        bye = self.world.goodbye(self.session, at_ms + FAREWELL_MS)
        self._waiting = deque([*started, bye])
