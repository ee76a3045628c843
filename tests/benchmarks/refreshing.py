"""Visits through the real fold, prompt, request rules, refresh queue and cache, on simulated time: SIMULATED figures.

What is real: `stream.shopper` says when a latent query is asked for, `stream.refresh_queue` which request waits, is
replaced or goes first, the cache is shared by state hash, and tokens are counted by the reasoner's own tokenizer, on
both sides without padding (the reasoner pads nothing) and without deducting beginnings that prompts share. What is
simulated: one embedder that computes `tokens_per_s` and does nothing else, batches of one event for the worker, no
answers to prompts, and a store that takes no time. Every vector counts, from an empty cache on.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from features.canonical import ShopperEvent
from features.decisions import FeatureRow, QueryEmbedding
from features.notices import QueryRequested
from features.prompt import prompt_of
from features.reasoner import CPU_BATCH
from features.state import UserState, Verdict
from stream.batching import Batch, Record
from stream.deciding import Place, decide_without_model
from stream.decoding import Item
from stream.policy import PolicySettings
from stream.ranking import Trigger
from stream.refresh_queue import Refresh, RefreshQueue
from stream.shopper import Shopper

TOPIC = "visits"
COLD_EVENTS = 50_000
"""The events from an empty store on whose tokens are told apart: an hour and a half at ten a second."""

Told = Callable[[str, str, float], None]
"""told(user, state hash, ms): a user's vector is there."""


class Visited(NamedTuple):
    """An event, the session it belongs to and what its shopper needs when it happens."""

    event: ShopperEvent
    at_ms: int
    session: int
    need: str | None


@dataclass(slots=True)
class Moment:
    """A decision for somebody with a need: the ranker's input, its prompt, and the one whose vector it had.

    `late_ms`: how long after it its own vector came, if that was in time for a second decision: within its life and
    before the user's next one; 0 when it was there.
    """

    session: int
    need: str
    row: FeatureRow
    facts: frozenset[str]
    prompt: str
    served: str | None
    late_ms: float | None = None


@dataclass(slots=True)
class Spent:
    """What a replay took and what its decisions found. Tokens are those that go through the reasoner."""

    events: int = 0
    need_changes: int = 0
    requests: int = 0
    tokens: int = 0
    tokens_every_event: int = 0
    cold: float | None = None
    """`vs_every_event` of the first `COLD_EVENTS` alone."""
    busy_ms: float = 0.0
    first_ms: int = 0
    last_ms: int = 0
    queries: Counter[str] = field(default_factory=Counter)
    """Decisions by the state of their latent query: fresh, stale, null."""
    answered: Counter[str] = field(default_factory=Counter)
    """Requests by what became of them: computed, cached, superseded."""
    moments: list[Moment] = field(default_factory=list)
    prompts: dict[str, str] = field(default_factory=dict)
    """What was computed, by state hash, in that order."""

    @property
    def vs_every_event(self) -> float:
        """Tokens over those of a refresh on every event."""
        return self.tokens / self.tokens_every_event

    @property
    def span_ms(self) -> int:
        """From the first event to the last."""
        return self.last_ms - self.first_ms


class Embedder:
    """An embedder on simulated time: the real queue, batches, and a cache that grows by what was computed."""

    def __init__(self, lengths: Callable[[str], int], tokens_per_s: float, spent: Spent) -> None:
        self._lengths = lengths
        self._tokens_per_s = tokens_per_s
        self._spent = spent
        self._queue = RefreshQueue()
        self._cached: set[str] = set()
        self._last: dict[str, str] = {}
        self.told: Told = lambda *_: None
        self._batch: Sequence[Refresh] = ()
        self._free_ms = 0.0
        self._offset = 0

    def ask(self, request: QueryRequested, at_ms: int) -> None:
        """Takes a request at once."""
        self._offset += 1
        gone = self._queue.put(Refresh(request, (TOPIC, 0), self._offset, asked_ms=at_ms), at_ms)
        self._spent.requests += 1
        self._spent.answered["superseded"] += len(gone)

    def found(self, user: str, state_hash: str) -> tuple[str, str | None]:
        """(fresh, the hash), (stale, the hash of the user's last vector) or (null, None)."""
        if state_hash in self._cached:
            return "fresh", state_hash
        last = self._last.get(user)
        return ("null", None) if last is None else ("stale", last)

    def work(self, until_ms: int) -> None:
        """Ends and begins batches up to a moment."""
        while True:
            if self._batch:
                if self._free_ms > until_ms:
                    return
                self._store()
            due_ms = self._queue.next_due_ms
            if due_ms is None or max(due_ms, self._free_ms) > until_ms:
                return
            began_ms = max(due_ms, self._free_ms)
            self._batch = self._queue.take(CPU_BATCH, int(began_ms))
            self._free_ms = began_ms + self._cost_ms()

    def _cost_ms(self) -> float:
        """Counts what the batch computes; how long that takes."""
        wanted = {refresh.request.state_hash: refresh.request.prompt for refresh in self._batch}
        new = {name: text for name, text in wanted.items() if name not in self._cached}
        tokens = sum(map(self._lengths, new.values()))
        self._spent.prompts |= new
        self._spent.answered["computed"] += len(new)
        self._spent.answered["cached"] += len(self._batch) - len(new)
        self._spent.tokens += tokens
        took_ms = 1000 * tokens / self._tokens_per_s
        self._spent.busy_ms += took_ms
        return took_ms

    def _store(self) -> None:
        for refresh in self._batch:
            self._cached.add(refresh.request.state_hash)
            self._last[refresh.request.key] = refresh.request.state_hash
            self.told(refresh.request.key, refresh.request.state_hash, self._free_ms)
        self._batch = ()


def replay(visits: Iterable[Visited], lengths: Callable[[str], int], tokens_per_s: float) -> Spent:
    """Replays visits in order of time from an empty store."""
    spent = Spent()
    line = _Line(lengths, Embedder(lengths, tokens_per_s, spent), spent)
    for offset, visited in enumerate(visits):
        line.take(visited, offset)
    return spent


@dataclass(slots=True)
class _Line:
    """The worker's part: one event at a time, folded, decided on with what is cached, and asked about."""

    lengths: Callable[[str], int]
    embedder: Embedder
    spent: Spent
    policy: PolicySettings = field(default_factory=PolicySettings)
    states: dict[str, UserState] = field(default_factory=dict)
    needs: dict[str, str | None] = field(default_factory=dict)
    open: dict[str, tuple[Trigger, Moment]] = field(default_factory=dict)
    """Each user's newest decision, while it waits for its own vector."""

    def __post_init__(self) -> None:
        self.embedder.told = self._refine

    def take(self, visited: Visited, offset: int) -> None:
        """One event of one user."""
        event, at_ms = visited.event, visited.at_ms
        self.embedder.work(at_ms)
        state = self.states.setdefault(event.key, UserState())
        record = Record(offset, at_ms, event.key.encode(), b"")
        shopper = Shopper(event.key, state, [Item(record, event, at_ms, at_ms)], self.policy, None)
        ends: Counter[Verdict] = Counter()
        while (trigger := shopper.advance(ends, 0)) is not None:
            self._decide(shopper, trigger, visited)
        self._count(visited, state, ends)
        request = shopper.query(Batch(TOPIC, 0, 1, offset, (record,)))
        if request is not None:
            self.embedder.ask(request, at_ms)

    def _decide(self, shopper: Shopper, trigger: Trigger, visited: Visited) -> None:
        found, served = self.embedder.found(visited.event.key, trigger.state_hash)
        self.spent.queries[found] += 1
        place = Place(TOPIC, 0, trigger.at_ms, "none")
        silence = decide_without_model(trigger, self.policy, place, "none", "no_model")
        embedding = QueryEmbedding(state=found, space_id="none", state_hash=trigger.state_hash)
        shopper.hear(silence.model_copy(update={"embedding": embedding}), trigger)
        self.open.pop(visited.event.key, None)
        if visited.need is not None:
            text = None if served is None else self.spent.prompts.get(served, trigger.prompt)
            late_ms = 0.0 if found == "fresh" else None
            moment = Moment(visited.session, visited.need, trigger.row, trigger.facts, trigger.prompt, text, late_ms)
            self.spent.moments.append(moment)
            self.open[visited.event.key] = trigger, moment

    def _refine(self, user: str, state_hash: str, at_ms: float) -> None:
        trigger, moment = self.open.get(user, (None, None))
        if trigger is None or moment is None or trigger.state_hash != state_hash or moment.late_ms is not None:
            return
        if at_ms - trigger.at_ms <= self.policy.ttl_ms:
            moment.late_ms = at_ms - trigger.at_ms

    def _count(self, visited: Visited, state: UserState, ends: Counter[Verdict]) -> None:
        if ends.total():
            return
        user, spent = visited.event.key, self.spent
        spent.events += 1
        spent.first_ms = spent.first_ms or visited.at_ms
        spent.last_ms = visited.at_ms
        spent.need_changes += visited.need is not None and self.needs.get(user) != visited.need
        self.needs[user] = visited.need
        spent.tokens_every_event += self.lengths(prompt_of(state, visited.at_ms).text)
        if spent.events == COLD_EVENTS:
            spent.cold = spent.vs_every_event
