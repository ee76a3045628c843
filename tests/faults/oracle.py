"""What must have become of every record, by the documented rules, in plain Python over the log.

Of the product only the wire contract is used: whether a record is an event, its key and its time. The rules are told
here a second time, as simply as they can be: an event is a duplicate when its id is among the last 256 applied of its
user, late when it is more than an hour behind the newest event time before it in its partition, else applied; a
client's clock is believed up to a minute beyond the log's.
"""

from __future__ import annotations

from collections import Counter, defaultdict, deque
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from features.contract import InvalidEvent, parse, to_ms
from features.events import UserEvent

REMEMBERED_IDS = 256
LATENESS_MS = 3_600_000
SKEW_MS = 60_000
RECENT = 20
HALF_LIFE_MS = 86_400_000


@dataclass(slots=True)
class Told:
    """One user's applied events: kinds and times, in the order of the log."""

    events: list[tuple[str, int]] = field(default_factory=list)
    known: deque[str] = field(default_factory=lambda: deque(maxlen=REMEMBERED_IDS))

    def recent(self) -> list[tuple[str, int]]:
        """The newest events, newest first; among equal times the later in the log first."""
        newest = sorted(enumerate(self.events), key=lambda item: (item[1][1], item[0]), reverse=True)
        return [event for _, event in newest[:RECENT]]

    def count(self, kind: str) -> float:
        """The sum over events of a kind of 2^(-age / one day), as of the newest of them."""
        times = [at for found, at in self.events if found == kind]
        return sum(2.0 ** (-(max(times) - at) / HALF_LIFE_MS) for at in times)


@dataclass(slots=True)
class Expected:
    """What one partition's records lead to; `dead` are the offsets of what is no event of its key."""

    ends: Counter[str] = field(default_factory=Counter)
    users: dict[str, Told] = field(default_factory=lambda: defaultdict(Told))
    dead: set[int] = field(default_factory=set)
    ids: Counter[str] = field(default_factory=Counter)
    watermark_ms: int = 0

    @property
    def applied_again(self) -> int:
        """Ids that the rules apply more than once: repeated beyond the declared window."""
        return sum(times > 1 for times in self.ids.values())


def expect(records: Iterable[Any]) -> Expected:
    """The ends and effects of one partition's records (kafka-python's), in order of offset."""
    found = Expected()
    for record in records:
        event = _event(record)
        if event is None:
            found.ends["dead_lettered"] += 1
            found.dead.add(record.offset)
            continue
        at_ms = min(to_ms(event.time), record.timestamp + SKEW_MS)
        end = _end(found, event, at_ms)
        found.ends[end] += 1
        if end == "applied":
            found.users[event.key].events.append((event.kind.value, at_ms))
            found.users[event.key].known.append(event.id)
            found.ids[event.id] += 1
        found.watermark_ms = max(found.watermark_ms, at_ms)
    return found


def _end(found: Expected, event: UserEvent, at_ms: int) -> str:
    known = found.users.get(event.key)
    if known is not None and event.id in known.known:
        return "duplicate"
    return "late" if at_ms < found.watermark_ms - LATENESS_MS else "applied"


def _event(record: Any) -> UserEvent | None:
    try:
        event = parse(UserEvent, record.value) if record.value is not None else None
    except InvalidEvent:
        return None
    return event if event is not None and record.key == event.key.encode() else None


def totals(expected: Mapping[int, Expected]) -> Counter[str]:
    """The ends of all partitions."""
    return sum((found.ends for found in expected.values()), Counter[str]())
