"""The states of the users seen last, kept decoded: a batch takes them out and gives them back once it is committed.

A partition's entries are what its ledger holds, as long as its claim lives: whoever takes a state and cannot commit
does not give it back, and a new claim forgets them all. So the store is read only for users not seen lately.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable, Mapping

from features.state import UserState

MAX_BYTES = 256 * 1024 * 1024
"""How much memory the states of all partitions may take, as `decoded_bytes` has it: some 50,000 users of 10 events
each, 24,000 of 100, or 1,200 at their bound of 64 KiB."""
MAX_USERS = 100_000
"""How many states are kept at most: Python's collector looks through all of them now and then."""
UNWRITTEN_BYTES = 1_000
"""The length as bytes of a state that its batch did not write, for no event of it was applied."""


def decoded_bytes(length: int) -> int:
    """About how much memory a state takes that is `length` bytes long when written.

    Measured: 4.7 KB for 878, 11.2 KB for 3,007, 16.1 KB for 5,496.
    """
    return 2_000 + 3 * length


class UserCache:
    """States by partition and user, within both bounds; the one unused longest goes first."""

    def __init__(self, max_users: int = MAX_USERS, max_bytes: int = MAX_BYTES) -> None:
        self._states: OrderedDict[tuple[int, str], tuple[UserState, int]] = OrderedDict()
        self._max_users = max_users
        self._max_bytes = max_bytes
        self._bytes = 0

    def __len__(self) -> int:
        return len(self._states)

    @property
    def held_bytes(self) -> int:
        """About how much memory the kept states take."""
        return self._bytes

    def take(self, partition: int, users: Iterable[str]) -> dict[str, UserState]:
        """The known states of `users`, which are no longer kept: the caller may change them."""
        taken, states = dict[str, UserState](), self._states
        for user in users:
            if (entry := states.pop((partition, user), None)) is not None:
                taken[user] = entry[0]
                self._bytes -= entry[1]
        return taken

    def peek(self, partition: int, user: str) -> UserState | None:
        """A state as of the last commit; not to be changed. None when it is not known, or a batch has it."""
        entry = self._states.get((partition, user))
        return None if entry is None else entry[0]

    def give(self, partition: int, states: Mapping[str, UserState], written: Mapping[str, bytes]) -> None:
        """Keeps states that are now exactly what the ledger holds; `written` are those that were just written."""
        for user, state in states.items():
            blob = written.get(user)
            size = decoded_bytes(UNWRITTEN_BYTES if blob is None else len(blob))
            self._drop((partition, user))
            self._states[partition, user] = state, size
            self._bytes += size
        while len(self._states) > self._max_users or self._bytes > self._max_bytes:
            self._bytes -= self._states.popitem(last=False)[1][1]

    def forget(self, partition: int) -> None:
        """Drops a partition's states: its claim is new, or no longer ours."""
        for key in [key for key in self._states if key[0] == partition]:
            self._drop(key)

    def _drop(self, key: tuple[int, str]) -> None:
        if (entry := self._states.pop(key, None)) is not None:
            self._bytes -= entry[1]
