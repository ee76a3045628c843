"""The states of the users seen last, kept decoded: a batch takes them out and gives them back once it is committed.

A partition's entries are what its ledger holds, as long as its claim lives: whoever takes a state and cannot commit
does not give it back, and a new claim forgets them all. So the store is read only for users not seen lately.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable, Mapping

from features.state import UserState

MAX_USERS = 20_000
"""How many states are kept over all partitions; at about 3 KB each some 60 MB, at their bound of 64 KiB 1.3 GB."""


class UserCache:
    """States by partition and user; the one unused longest goes first."""

    def __init__(self, max_users: int = MAX_USERS) -> None:
        self._states: OrderedDict[tuple[int, str], UserState] = OrderedDict()
        self._max_users = max_users

    def __len__(self) -> int:
        return len(self._states)

    def take(self, partition: int, users: Iterable[str]) -> dict[str, UserState]:
        """The known states of `users`, which are no longer kept: the caller may change them."""
        states = self._states
        return {user: state for user in users if (state := states.pop((partition, user), None)) is not None}

    def peek(self, partition: int, user: str) -> UserState | None:
        """A state as of the last commit; not to be changed. None when it is not known, or a batch has it."""
        return self._states.get((partition, user))

    def give(self, partition: int, states: Mapping[str, UserState]) -> None:
        """Keeps states that are now exactly what the ledger holds."""
        for user, state in states.items():
            self._states[partition, user] = state
        while len(self._states) > self._max_users:
            self._states.popitem(last=False)

    def forget(self, partition: int) -> None:
        """Drops a partition's states: its claim is new, or no longer ours."""
        for key in [key for key in self._states if key[0] == partition]:
            del self._states[key]
