"""The latest decisions in memory, bounded by count, bytes and age, found by id or by user."""

from __future__ import annotations

from collections import defaultdict, deque
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Entry:
    """One record of the decision topic; `key` is tenant:user, `raw` the Decision's JSON, `traceparent` if traced."""

    partition: int
    offset: int
    key: str
    decision_id: str
    at_ms: int
    raw: bytes
    traceparent: bytes | None = None

    @property
    def cursor(self) -> str:
        """Its place, as told to clients: partition-offset."""
        return f"{self.partition}-{self.offset}"


@dataclass(frozen=True, slots=True)
class Missed:
    """What a returning client has not seen; `has_gap` when some of it is no longer held."""

    entries: list[Entry]
    has_gap: bool


def parse_cursor(text: str) -> tuple[int, int] | None:
    """The (partition, offset) of a cursor, or None for any other text.

    >>> parse_cursor("3-42"), parse_cursor("x")
    ((3, 42), None)
    """
    partition, dash, offset = text.partition("-")
    is_cursor = dash and all(part.isascii() and part.isdigit() and len(part) < 19 for part in (partition, offset))
    return (int(partition), int(offset)) if is_cursor else None


class DecisionRing:
    """A ring of decisions: the oldest leave when there are too many, too large or too old ones."""

    def __init__(self, max_count: int, max_bytes: int, max_age_ms: int) -> None:
        self._max_count, self._max_bytes, self._max_age_ms = max_count, max_bytes, max_age_ms
        self._entries: deque[Entry] = deque()
        self._by_id: dict[str, Entry] = {}
        self._by_key: defaultdict[str, deque[Entry]] = defaultdict(deque)
        self._complete_from: dict[int, int] = {}
        self._bytes = 0

    def __len__(self) -> int:
        return len(self._entries)

    def begin(self, partition: int, offset: int) -> None:
        """Says that the ring will hold the partition from `offset` on, without a gap."""
        self._complete_from.setdefault(partition, offset)

    def append(self, entry: Entry) -> None:
        """Takes in the next entry of its partition."""
        self._entries.append(entry)
        self._by_id[entry.decision_id] = entry
        self._by_key[entry.key].append(entry)
        self._bytes += len(entry.raw)
        self.expire(entry.at_ms)

    def expire(self, now_ms: int) -> None:
        """Lets go of what is over the bounds; the newest entry always stays until its age ends it."""
        while self._entries and self._is_over(now_ms):
            oldest = self._entries.popleft()
            self._bytes -= len(oldest.raw)
            self._complete_from[oldest.partition] = oldest.offset + 1
            if self._by_id.get(oldest.decision_id) is oldest:
                del self._by_id[oldest.decision_id]
            of_user = self._by_key[oldest.key]
            of_user.popleft()
            if not of_user:
                del self._by_key[oldest.key]

    def _is_over(self, now_ms: int) -> bool:
        if self._entries[0].at_ms < now_ms - self._max_age_ms:
            return True
        return len(self._entries) > 1 and (len(self._entries) > self._max_count or self._bytes > self._max_bytes)

    def find(self, decision_id: str) -> Entry | None:
        """The decision of this id, if it is still held."""
        return self._by_id.get(decision_id)

    def missed(self, key: str, partition: int, offset: int) -> Missed:
        """The entries of `key` after (partition, offset), oldest first: a user's entries share one partition."""
        held = [e for e in self._by_key.get(key, ()) if e.partition == partition and e.offset > offset]
        return Missed(held, has_gap=offset + 1 < self._complete_from.get(partition, 0))
