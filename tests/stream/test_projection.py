"""The projection beside the line: nobody who is touched while a round is under way is forgotten."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from pathlib import Path

import pytest

from features.settings import Connections
from features.state import UserState
from features.views import USER_ACTIVITY
from tests.stream.test_pipeline import NOW_MS, Line, event, opened


@pytest.fixture
async def line(topics: Connections, bundle: Path) -> AsyncIterator[Line]:
    async for running in opened(Line(topics, bundle)):
        yield running


async def test_who_is_touched_while_a_round_reads_states_is_projected_again(
    line: Line, monkeypatch: pytest.MonkeyPatch
) -> None:
    projection, ledger = line.worker.projection, line.worker.events.fence.ledger
    read = projection._states

    async def read_then_touched(partition: int, users: Sequence[str]) -> dict[str, UserState]:
        states = {
            user: UserState.from_bytes(state.to_bytes()) for user, state in (await read(partition, users)).items()
        }
        monkeypatch.undo()
        await line.take(event(2, "cart_updated", quantity=2))
        return states

    await line.take(event(1, "cart_updated", quantity=1))
    monkeypatch.setattr(projection, "_states", read_then_touched)
    await projection.flush()
    (row,) = await line.rows.read([USER_ACTIVITY.name], ["demo:u1"], NOW_MS)
    assert row[USER_ACTIVITY.name].values["cart_quantity"] == 2
    assert await ledger.dirty(0) == []
