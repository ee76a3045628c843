"""Which records have been read and have not had their effect, so that no offset is committed early."""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass, field

from stream.refresh_queue import Place


@dataclass(slots=True)
class Unfinished:
    """The records of each partition between their reading and their effect."""

    _waiting: dict[Place, OrderedDict[int, None]] = field(default_factory=dict)
    _next: dict[Place, int] = field(default_factory=dict)

    def begin(self, place: Place, offset: int) -> None:
        """A record was read. Offsets of a partition come in order."""
        self._waiting.setdefault(place, OrderedDict())[offset] = None
        self._next[place] = offset + 1

    def end(self, place: Place, offset: int) -> None:
        """A record had its effect, or never will."""
        self._waiting.get(place, OrderedDict()).pop(offset, None)

    def committable(self) -> dict[Place, int]:
        """The offset to go on from, per partition: that of the oldest unfinished record."""
        return {place: next(iter(self._waiting[place]), after) for place, after in self._next.items()}

    def forget(self, places: set[Place]) -> None:
        """Drops partitions that another embedder now reads."""
        for place in places:
            self._waiting.pop(place, None)
            self._next.pop(place, None)
