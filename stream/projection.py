"""Users' states as Feast's online rows: a projection of the ledger, off the path of events and decisions.

A committed batch only notes its users. A round writes the rows of everybody noted when it begins, as they stand by
then, so a user with many events costs one row. It is followed by a rest in proportion to what it took: rows follow
within `REST_S` when there is little to do, and within about `REST_MAX_S` of a backlog of events, of which they then
take a small share. The ledger's dirty set remembers who was noted: what a crash leaves behind is projected after the
next claim.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Awaitable, Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from itertools import islice
from typing import Any

from features.ledger import NOTHING_APPLIED, Claim, Fenced, Ledger
from features.shopper_rows import ShopperRows
from features.state import UserState
from stream.telemetry import UNPROJECTED_USERS, observe_freshness
from stream.tracing import stage
from stream.user_cache import UserCache

SLICE_USERS = 256
"""The states of so many users are read at a time, so that the event loop is not held up for long."""
REST_S = 0.02
REST_SHARE = 10.0
"""A round is followed by a rest of this multiple of its own time, within `REST_S` and `REST_MAX_S`."""
REST_MAX_S = 2.0
"""The longest rest: a round may have waited a minute for the store, and then rows are urgent."""
MAX_PENDING = 50_000
"""Noted users beyond which batches wait for the projection."""

Patiently = Callable[[Callable[[], Awaitable[Any]], str], Awaitable[Any]]


@dataclass(slots=True)
class _Pending:
    """One partition's noted users, first noted first, and the claim and offset that their states are of.

    `users` gives the broker's time in ms of the first record that a user's row does not show, 0 if not known.
    """

    epoch: int
    applied: int
    users: dict[str, int] = field(default_factory=dict)


class Projection:
    """Writes the rows of noted users and takes them off the ledger's dirty set. `patiently` retries a passing fault."""

    def __init__(self, rows: ShopperRows, ledger: Ledger, cache: UserCache, patiently: Patiently) -> None:
        self._rows = rows
        self._ledger = ledger
        self._cache = cache
        self._patiently = patiently
        self._pending: dict[int, _Pending] = {}
        self._noted = asyncio.Event()
        self._has_room = asyncio.Event()
        self._has_room.set()
        self._crowded = asyncio.Event()
        self._busy = asyncio.Lock()

    def __len__(self) -> int:
        return sum(len(pending.users) for pending in self._pending.values())

    async def room(self) -> None:
        """Waits while too many users are noted."""
        await self._has_room.wait()

    async def claimed(self, partition: int, claim: Claim) -> None:
        """Begins a partition anew, with the users whom an earlier owner left behind."""
        left = [] if claim.applied == NOTHING_APPLIED else await self._ledger.dirty(partition)
        self._pending[partition] = _Pending(claim.epoch, claim.applied)
        self.note(partition, claim.epoch, claim.applied, left)

    def note(self, partition: int, epoch: int, applied: int, users: Iterable[str], received_ms: int = 0) -> None:
        """Notes users whose states were committed under `epoch` by the batch that ended at `applied`.

        `received_ms` is the broker's time of the batch's first record.
        """
        pending = self._pending.get(partition)
        if pending is None or pending.epoch != epoch:
            pending = self._pending[partition] = _Pending(epoch, applied)
        pending.applied = applied
        for user in users:
            pending.users.setdefault(user, received_ms)
        self._noted.set()
        if self._told() > MAX_PENDING:
            self._has_room.clear()
            self._crowded.set()

    async def run(self) -> None:
        """Projects until cancelled. Raises when the store fails for longer than patience allows."""
        while True:
            await self._noted.wait()
            began_s = time.monotonic()
            await self.round()
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._crowded.wait(), rest_s(time.monotonic() - began_s))

    async def flush(self) -> None:
        """Projects everybody who is noted now."""
        while len(self):
            await self.round()

    async def round(self) -> None:
        """Projects everybody noted by now, all partitions at once."""
        async with self._busy:
            with stage("project"):
                due = {partition: len(pending.users) for partition, pending in self._pending.items()}
                await asyncio.gather(*(self._project(partition, users) for partition, users in due.items() if users))
        waiting = self._told()
        if waiting <= MAX_PENDING:
            self._crowded.clear()
            self._has_room.set()
        if not waiting:
            self._noted.clear()

    def _told(self) -> int:
        waiting = len(self)
        UNPROJECTED_USERS.set(waiting)
        return waiting

    async def _project(self, partition: int, due: int) -> None:
        """Projects the `due` users of a partition who were noted first."""
        for size in _slices(due):
            await self._patiently(partial(self._write, partition, size), "projecting online rows")

    async def _write(self, partition: int, size: int) -> None:
        pending = self._pending[partition]
        guard = (pending.epoch, pending.applied)  # read before the states: what is written is at least as new
        # Taken off before the states are read: who is touched meanwhile is noted again, and projected once more.
        received = {user: pending.users.pop(user) for user in list(islice(pending.users, size))}
        if not received:
            return
        try:
            states = await self._states(partition, list(received))
            moments = [state.last_ms for state in states.values()]
            await self._rows.write(states, guard)
            await self._ledger.clean(partition, states, through=guard[1])
        except Fenced:
            pending.users.clear()
        except BaseException:
            pending.users.update(received)
            raise
        now_ms = time.time_ns() // 1_000_000
        observe_freshness("broker", "row", list(received.values()), now_ms)
        observe_freshness("event", "row", moments, now_ms)

    async def _states(self, partition: int, users: Sequence[str]) -> dict[str, UserState]:
        """States as of the last commit or later: from the cache, or from the ledger for users whom a batch has now."""
        absent = [user for user in users if self._cache.peek(partition, user) is None]
        blobs = await self._ledger.load(partition, absent)
        states = {user: UserState.from_bytes(blob) for user, blob in zip(absent, blobs, strict=True)}
        for user in users:
            if (state := self._cache.peek(partition, user)) is not None:
                states[user] = state
        return states


def _slices(due: int) -> Iterator[int]:
    while due > 0:
        yield min(due, SLICE_USERS)
        due -= SLICE_USERS


def rest_s(took_s: float) -> float:
    """How long to rest after a round.

    >>> rest_s(0.001), rest_s(0.05), rest_s(36.0)
    (0.02, 0.5, 2.0)
    """
    return min(max(REST_S, REST_SHARE * took_s), REST_MAX_S)
