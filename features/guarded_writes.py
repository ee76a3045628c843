"""Many guarded writes, each a script of one key: sent in chunks, so that the store works while the next is encoded."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

from redis.exceptions import NoScriptError

from features.redis_client import Command, Exchanges, exchange
from features.row_scripts import SCRIPTS

CHUNK_ROWS = 32
"""So many rows are encoded at a time, about half a millisecond's work."""
CHUNKS_UNDER_WAY = 3
"""So many chunks, and connections, may wait for the store's answer at a time."""

Row = TypeVar("Row")


async def evaluate_rows(redis: Any, rows: Sequence[Row], command: Callable[[Row], Command]) -> list[Any]:
    """The answers to the scripts of all `rows`, in order; other tasks of the loop get their turn between chunks.

    Rows of one key must not be told apart by the order of their writes: chunks may overtake each other. Raises what
    Redis answers; then any of the others may have taken effect.
    """
    sent: deque[list[Command]] = deque()
    answers: list[Any] = []
    async with Exchanges(redis) as exchanges:
        for start in range(0, len(rows), CHUNK_ROWS):
            sent.append([command(row) for row in rows[start : start + CHUNK_ROWS]])
            await exchanges.send(sent[-1])
            if len(exchanges) > CHUNKS_UNDER_WAY:
                answers += await _settled(redis, sent.popleft(), await exchanges.replies())
            await asyncio.sleep(0)
        while exchanges:
            answers += await _settled(redis, sent.popleft(), await exchanges.replies())
    return answers


async def evaluate(redis: Any, commands: Sequence[Command]) -> list[Any]:
    """The answers to scripts sent in one go and run in order. Raises the first refusal."""
    return await _settled(redis, commands, await exchange(redis, commands))


async def _settled(redis: Any, commands: Sequence[Command], answers: list[Any]) -> list[Any]:
    unknown = next((place for place, answer in enumerate(answers) if isinstance(answer, NoScriptError)), None)
    if unknown is not None:  # a server forgets its scripts at a restart; from there on again, to keep the order
        for script in SCRIPTS:
            await redis.script_load(script)
        answers[unknown:] = await exchange(redis, commands[unknown:])
    return accepted(answers)


def accepted(answers: list[Any]) -> list[Any]:
    """The answers themselves. Raises the first one that is a refusal."""
    for answer in answers:
        if isinstance(answer, Exception):
            raise answer
    return answers
