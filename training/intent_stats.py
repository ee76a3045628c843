"""How each intent fared: event-time tiles of the log, and versioned snapshots over the closed ones.

A tile holds the prompts of `TILE_MS` of event time. Whether a record counts depends on the record alone, never on
what was read before it, so that every reading of the same log gives the same snapshot:

    decision   a `show`, in the tile of its event time, if it was in the log before the tile's end + `LATENESS_MS`
    outcome    of such a decision, at most `ATTRIBUTION_WINDOW_MS` after it, in the log before that same moment

A tile may be closed when the log has passed its end + `LATENESS_MS`; what comes later can no longer change it.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from dataclasses import dataclass, field
from datetime import UTC, datetime

import orjson

from features.contract import from_ms, to_ms
from features.decisions import Decision, Outcome, OutcomeKind
from features.notices import IntentStats
from features.windows import DAY_MS, MINUTE_MS
from training.dataset import ALLOWED_SKEW_MS, ATTRIBUTION_WINDOW_MS

TILE_MS = 5 * MINUTE_MS
LATENESS_MS = ATTRIBUTION_WINDOW_MS + 5 * MINUTE_MS
"""How long after a tile's end the log may still add to it."""
WINDOW_MS = 7 * DAY_MS
"""A snapshot counts this much event time before its `until`."""
PRIOR_SHOWN = 20.0
_TIME = "%Y%m%dT%H%M%SZ"


@dataclass(frozen=True, slots=True)
class Snapshot:
    """Every intent that was seen within `WINDOW_MS` before `until_ms`, by intent id."""

    version: str
    until_ms: int
    intents: tuple[IntentStats, ...]


@dataclass(slots=True)
class Tally:
    """How often each intent was seen, clicked and dismissed; at most once each per decision."""

    shown: Counter[str] = field(default_factory=Counter)
    clicked: Counter[str] = field(default_factory=Counter)
    dismissed: Counter[str] = field(default_factory=Counter)

    def add(self, other: Tally) -> None:
        """Adds another tally's counts to this one."""
        self.shown += other.shown
        self.clicked += other.clicked
        self.dismissed += other.dismissed


@dataclass(frozen=True, slots=True)
class _Slate:
    key: str
    at_ms: int
    intent_ids: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class _Told:
    key: str
    at_ms: int
    log_ms: int
    kind: OutcomeKind
    intent_id: str | None


class Tiles:
    """The tiles of one tenant: records go in as they are read, in any order, until their tile is closed.

    Memory holds one small tally a closed tile of the window, and the slates and outcomes of the open ones.
    """

    def __init__(self, tenant: str) -> None:
        self._tenant = tenant
        self._slates: dict[str, _Slate] = {}
        self._told: dict[str, list[_Told]] = {}
        self._closed: dict[int, Tally] = {}
        self.closed_until_ms = 0

    def decided(self, decision: Decision, log_ms: int) -> None:
        """Takes a decision whose record has the timestamp `log_ms`; the first one of an id counts."""
        at_ms = to_ms(decision.time)
        if decision.tenant != self._tenant or decision.decision != "show" or at_ms < self.closed_until_ms:
            return
        if log_ms < deadline_ms(at_ms):
            slate = _Slate(decision.key, at_ms, tuple(prompt.intent_id for prompt in decision.prompts))
            self._slates.setdefault(decision.decision_id, slate)

    def told(self, outcome: Outcome, log_ms: int) -> None:
        """Takes an outcome whose record has the timestamp `log_ms`, before or after its decision."""
        at_ms = to_ms(outcome.time)
        if outcome.tenant == self._tenant and at_ms + ALLOWED_SKEW_MS >= self.closed_until_ms:
            told = _Told(outcome.key, at_ms, log_ms, outcome.kind, outcome.intent_id)
            self._told.setdefault(outcome.decision_id, []).append(told)

    def close(self, until_ms: int) -> None:
        """Counts every tile that ends at or before `until_ms`, and forgets what only they needed."""
        ripe = [name for name, slate in self._slates.items() if tile_of(slate.at_ms) + TILE_MS <= until_ms]
        for name in ripe:
            slate = self._slates.pop(name)
            tally = self._closed.setdefault(tile_of(slate.at_ms), Tally())
            _count(tally, slate, self._told.pop(name, []))
        self.closed_until_ms = max(self.closed_until_ms, until_ms)
        self._forget()

    def _forget(self) -> None:
        oldest_ms = self.closed_until_ms - WINDOW_MS
        self._closed = {start: tally for start, tally in self._closed.items() if start >= oldest_ms}
        past_ms = self.closed_until_ms - ALLOWED_SKEW_MS
        self._told = {name: told for name, told in self._told.items() if any(t.at_ms >= past_ms for t in told)}

    def snapshot(self) -> Snapshot:
        """The closed tiles of the window that ends at the last `close`."""
        total = Tally()
        for start in sorted(self._closed):
            total.add(self._closed[start])
        return _snapshot(self._tenant, self.closed_until_ms, total)


def tile_of(at_ms: int) -> int:
    """The start of the tile that an event time falls into.

    >>> tile_of(299_999), tile_of(300_000)
    (0, 300000)
    """
    return at_ms // TILE_MS * TILE_MS


def deadline_ms(at_ms: int) -> int:
    """When the log is too late for the tile of an event time.

    >>> deadline_ms(0) == TILE_MS + LATENESS_MS
    True
    """
    return tile_of(at_ms) + TILE_MS + LATENESS_MS


def closable_until_ms(log_ms: int) -> int:
    """Up to where tiles may be closed once every partition's log has passed `log_ms`.

    >>> closable_until_ms(deadline_ms(0)), closable_until_ms(deadline_ms(0) - 1)
    (300000, 0)
    """
    return tile_of(log_ms - LATENESS_MS)


def until_of(version: str) -> int:
    """The `until_ms` that a snapshot's version names. Raises ValueError for a text that is no version.

    >>> until_of("19700101T000500Z-000000000000")
    300000
    """
    try:
        return to_ms(datetime.strptime(version.partition("-")[0], _TIME).replace(tzinfo=UTC))
    except ValueError as error:
        raise ValueError(
            f"{version!r} is no version of a snapshot of intent statistics, expected e.g. 20261124T150500Z-1a2b3c4d5e6f"
        ) from error


def click_rate(shown: int, clicked: int, mean: float) -> float:
    """Clicks over views, drawn towards the mean of all intents:  (clicked + n * mean) / (shown + n), n = `PRIOR_SHOWN`.

    >>> click_rate(0, 0, mean=0.25), click_rate(20, 20, mean=0.0)
    (0.25, 0.5)
    """
    return round((clicked + PRIOR_SHOWN * mean) / (shown + PRIOR_SHOWN), 6)


def _count(tally: Tally, slate: _Slate, told: list[_Told]) -> None:
    timely = [
        t
        for t in told
        if t.key == slate.key
        and t.log_ms < deadline_ms(slate.at_ms)
        and -ALLOWED_SKEW_MS <= t.at_ms - slate.at_ms <= ATTRIBUTION_WINDOW_MS
    ]
    seen = _meant(slate.intent_ids, timely, OutcomeKind.SHOWN)
    tally.shown.update(seen)
    tally.clicked.update(_meant(seen, timely, OutcomeKind.CLICKED))
    tally.dismissed.update(_meant(seen, timely, OutcomeKind.DISMISSED))


def _meant(intent_ids: tuple[str, ...], told: list[_Told], kind: OutcomeKind) -> tuple[str, ...]:
    """Those of `intent_ids` that outcomes of a kind are about; one that names no intent is about all of them."""
    named = {t.intent_id for t in told if t.kind is kind}
    return intent_ids if None in named else tuple(intent_id for intent_id in intent_ids if intent_id in named)


def _snapshot(tenant: str, until_ms: int, total: Tally) -> Snapshot:
    rows = [(i, total.shown[i], total.clicked[i], total.dismissed[i]) for i in sorted(total.shown)]
    content = hashlib.sha256(orjson.dumps([1, tenant, until_ms, rows])).hexdigest()[:12]
    version = f"{from_ms(until_ms).strftime(_TIME)}-{content}"
    mean = total.clicked.total() / max(total.shown.total(), 1)
    intents = tuple(
        IntentStats(
            tenant=tenant,
            intent_id=intent_id,
            version=version,
            until=from_ms(until_ms),
            shown=shown,
            clicked=clicked,
            dismissed=dismissed,
            click_rate=click_rate(shown, clicked, mean),
            intents=len(rows),
        )
        for intent_id, shown, clicked, dismissed in rows
    )
    return Snapshot(version, until_ms, intents)
