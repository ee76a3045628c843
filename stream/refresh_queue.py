"""The bounded queue of latent-query requests: the newest of a user wins, users on trigger pages go first."""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass, field

from features.events import QueryRequested

CAPACITY = 2000

Place = tuple[str, int]
"""A topic partition."""


@dataclass(frozen=True, slots=True)
class Refresh:
    """A request and where it stood in the log."""

    request: QueryRequested
    place: Place
    offset: int


@dataclass(slots=True)
class RefreshQueue:
    """Requests that wait, at most one a user and `capacity` in all.

    A full queue drops its oldest request that is not from a trigger page: that user's next event asks again.
    """

    capacity: int = CAPACITY
    _urgent: OrderedDict[str, Refresh] = field(default_factory=OrderedDict)
    _others: OrderedDict[str, Refresh] = field(default_factory=OrderedDict)

    def __len__(self) -> int:
        return len(self._urgent) + len(self._others)

    def put(self, refresh: Refresh) -> list[Refresh]:
        """Adds a request; returns those that will not be served: the user's older one, and one dropped for room.

        A user who waits as urgent stays urgent, and keeps the place in line.
        """
        user = refresh.request.key
        gone: list[Refresh] = []
        if user in self._urgent:
            gone.append(self._urgent[user])
            self._urgent[user] = refresh
        else:
            older = self._others.get(user)
            gone += [older] if older is not None else []
            self._place(refresh)
        if len(self) > self.capacity:
            line = self._others or self._urgent
            gone.append(line.popitem(last=False)[1])
        return gone

    def _place(self, refresh: Refresh) -> None:
        user = refresh.request.key
        if refresh.request.is_trigger:
            self._others.pop(user, None)
            self._urgent[user] = refresh
        else:
            self._others[user] = refresh

    def take(self, count: int) -> list[Refresh]:
        """Removes up to `count` requests: the urgent ones first, the longest waiting first."""
        taken: list[Refresh] = []
        for line in (self._urgent, self._others):
            while line and len(taken) < count:
                taken.append(line.popitem(last=False)[1])
        return taken

    def forget(self, places: set[Place]) -> None:
        """Drops what came from partitions that another embedder now reads."""
        for line in (self._urgent, self._others):
            for user in [user for user, refresh in line.items() if refresh.place in places]:
                del line[user]


@dataclass(slots=True)
class Unfinished:
    """Which records of each partition have been read and have not had their effect, so that none is committed early."""

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
