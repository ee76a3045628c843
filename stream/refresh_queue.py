"""The bounded queue of latent-query requests: the newest of a user wins, a burst waits, trigger pages go first."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterator
from dataclasses import dataclass, field, replace

from features.notices import QueryRequested

CAPACITY = 2000

QUIET_MS = 1000
"""A user who is on no trigger page waits until their meaning has not changed for so long."""
BURST_MS = 5000
"""However long a burst goes on, it waits no longer."""

Place = tuple[str, int]
"""A topic partition."""


@dataclass(frozen=True, slots=True)
class Refresh:
    """A request and where it stood in the log; `asked_ms` is the broker's time of it, `attempts` failed ones."""

    request: QueryRequested
    place: Place
    offset: int
    asked_ms: int = 0
    attempts: int = 0


@dataclass(frozen=True, slots=True)
class _Waiting:
    """A request in line: the user has waited since `since_ms`, and it may be taken from `due_ms` on."""

    refresh: Refresh
    since_ms: int
    due_ms: int


@dataclass(slots=True)
class RefreshQueue:
    """Requests that wait, at most one a user and `capacity` in all.

    A request from a trigger page is due at once. Another one is due when its user has been quiet for `quiet_ms`, or
    has waited for `burst_ms`: a burst costs one embedding. A full queue drops the request that waits longest and is
    not from a trigger page: that user's next event asks again.
    """

    capacity: int = CAPACITY
    quiet_ms: int = QUIET_MS
    burst_ms: int = BURST_MS
    _urgent: OrderedDict[str, _Waiting] = field(default_factory=OrderedDict)
    _others: OrderedDict[str, _Waiting] = field(default_factory=OrderedDict)

    def __len__(self) -> int:
        return len(self._urgent) + len(self._others)

    def put(self, refresh: Refresh, now_ms: int) -> list[Refresh]:
        """Adds a request; returns those that will not be served: the user's older one, and one dropped for room.

        A user who waits as urgent stays urgent, and everybody keeps the place in line.
        """
        user = refresh.request.key
        older = self._urgent.get(user) or self._others.get(user)
        since_ms = min(refresh.asked_ms, now_ms) if older is None else older.since_ms
        if user in self._urgent or refresh.request.is_trigger:
            self._others.pop(user, None)
            self._urgent[user] = _Waiting(refresh, since_ms, now_ms)
        else:
            self._others[user] = _Waiting(refresh, since_ms, min(now_ms + self.quiet_ms, since_ms + self.burst_ms))
        gone = [older.refresh] if older is not None else []
        return gone + self._dropped()

    def put_back(self, refresh: Refresh, due_ms: int) -> list[Refresh]:
        """Adds a request whose embedding failed, ahead of the line and due later; returns what will not be served.

        A newer one of its user wins.
        """
        user = refresh.request.key
        if user in self._urgent or user in self._others:
            return [refresh]
        line = self._urgent if refresh.request.is_trigger else self._others
        line[user] = _Waiting(replace(refresh, attempts=refresh.attempts + 1), refresh.asked_ms, due_ms)
        line.move_to_end(user, last=False)
        return self._dropped()

    def _dropped(self) -> list[Refresh]:
        if len(self) <= self.capacity:
            return []
        line = self._others or self._urgent
        return [line.popitem(last=False)[1].refresh]

    def take(self, count: int, now_ms: int) -> list[Refresh]:
        """Removes up to `count` requests that are due: the urgent ones first, the longest waiting first."""
        taken: list[Refresh] = []
        for line in (self._urgent, self._others):
            due = _first((user for user, waiting in line.items() if waiting.due_ms <= now_ms), count - len(taken))
            taken += [line.pop(user).refresh for user in due]
        return taken

    @property
    def next_due_ms(self) -> int | None:
        """When the next request may be taken; None when none waits."""
        return min((waiting.due_ms for waiting in self._all()), default=None)

    @property
    def oldest_ms(self) -> int | None:
        """Since when the user waits who has waited longest; None when none waits."""
        return min((waiting.since_ms for waiting in self._all()), default=None)

    def _all(self) -> Iterator[_Waiting]:
        yield from self._urgent.values()
        yield from self._others.values()

    def forget(self, places: set[Place]) -> None:
        """Drops what came from partitions that another embedder now reads."""
        for line in (self._urgent, self._others):
            for user in [user for user, waiting in line.items() if waiting.refresh.place in places]:
                del line[user]


def _first(users: Iterator[str], count: int) -> list[str]:
    return [user for _, user in zip(range(count), users, strict=False)]
