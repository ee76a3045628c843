"""Users' states as Feast's online rows: a projection of the ledger, behind it only while a worker is down."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from features.ledger import NOTHING_APPLIED, Claim, Ledger
from features.state import UserState
from features.store import OnlineRows, RowWrite
from features.views import ORDER_STATE, USER_ACTIVITY, activity_values, order_values

CATCH_UP_USERS = 500
"""How many users are projected in one go after a crash."""


class Projection:
    """Writes the rows of touched users and takes them off the ledger's dirty set."""

    def __init__(self, rows: OnlineRows, ledger: Ledger) -> None:
        self._rows = rows
        self._ledger = ledger

    async def project(self, partition: int, guard: tuple[int, int], states: Mapping[str, UserState]) -> None:
        """Projects states that were committed under `guard` = (epoch, last offset of their batch)."""
        if not states:
            return
        rows = [write for user, state in states.items() for write in row_writes(user, state, guard)]
        await self._rows.write_many(rows)
        await self._ledger.clean(partition, states, through=guard[1])

    async def catch_up(self, partition: int, claim: Claim) -> int:
        """Projects what a crash left dirty; returns how many users that were."""
        if claim.applied == NOTHING_APPLIED:
            return 0
        users = await self._ledger.dirty(partition)
        for begin in range(0, len(users), CATCH_UP_USERS):
            some = users[begin : begin + CATCH_UP_USERS]
            blobs = await self._ledger.load(partition, some)
            states = {user: UserState.from_bytes(blob) for user, blob in zip(some, blobs, strict=True)}
            await self.project(partition, (claim.epoch, claim.applied), states)
        return len(users)


def row_writes(user: str, state: UserState, guard: tuple[int, int]) -> list[RowWrite]:
    """A user's rows, as of the newest event."""
    views: tuple[tuple[str, dict[str, Any]], ...] = (
        (USER_ACTIVITY.name, activity_values(state)),
        (ORDER_STATE.name, order_values(state)),
    )
    return [RowWrite(view, user, values, state.last_ms, guard) for view, values in views]
