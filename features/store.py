"""Online rows in Feast's own layout: guarded writes, and reads of all views of an entity in one round trip.

A write is one single-key script. Its guard (epoch, offset) is kept per view in the same hash, so that a worker that
lost its partition, or a batch projected twice, never puts an older row over a newer one. A row that this process
wrote last is written again as its changes alone, on condition that the store still has exactly that row.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import count
from typing import Any, NamedTuple

from redis.exceptions import NoScriptError

from features.columns import Rows, Selection
from features.last_written import LastWritten, Written
from features.redis_client import Command, exchange
from features.row_plan import RowPlan, Values, changed
from features.row_scripts import CHANGES_SHA, FULL_SHA, OUTRUN, SCRIPTS, TAKEN, stamp
from features.views import VIEWS, View
from features.windows import DAY_MS
from features.wire import encode_time

ROW_TTL_MS = 90 * DAY_MS
"""How long an entity's rows stay in the store after its last write."""
REMEMBERED_ROWS = 20_000
"""Of so many rows the last written values are kept."""
CHUNK_ROWS = 64
"""So many rows are encoded at a time, about a millisecond's work."""
CHUNKS_UNDER_WAY = 2
"""So many chunks, and connections, may wait for the store's answer at a time."""


class RowWrite(NamedTuple):
    """One row to write: `values` names every feature of the view (None = null), `guard` is (epoch, offset)."""

    view: str
    key: str
    values: Mapping[str, Any]
    at_ms: int
    guard: tuple[int, int]


@dataclass(frozen=True, slots=True)
class ViewRow:
    """One view of one entity as read. `missing`: never written, or older than the view's ttl - then no values."""

    values: dict[str, Any]
    age_ms: int | None
    missing: bool


class OnlineRows:
    """Reads and writes the rows of one Feast project.

    `redis` is a redis.asyncio client (or RedisCluster) that returns bytes and has its own timeouts.
    """

    def __init__(
        self, redis: Any, project: str, ttl_ms: int = ROW_TTL_MS, views: Iterable[View] = tuple(VIEWS.values())
    ) -> None:
        self._redis = redis
        self._ttl_ms = ttl_ms
        self._plans = {view.name: RowPlan(view, project) for view in views}
        self._last = LastWritten(REMEMBERED_ROWS)
        self._writer = int.from_bytes(os.urandom(4))
        self._writes = count()

    async def write(self, view: str, key: str, values: Mapping[str, Any], at_ms: int, guard: tuple[int, int]) -> bool:
        """Writes one row; False when the store holds a row of a greater guard. See `write_many`."""
        return (await self.write_many([RowWrite(view, key, values, at_ms, guard)]))[0]

    async def write_many(self, rows: Sequence[RowWrite]) -> list[bool]:
        """Writes rows, each by itself; says for each whether it took effect.

        It takes one round trip for `CHUNK_ROWS` rows, and a second one where only changes were sent and the store had
        another row. Raises `LayoutError`: before anything is sent when a row lacks a feature or has an unknown one,
        and for a value of another type when the chunks before it are written.
        """
        number = next(self._writes) % 10**10
        writes = [self._prepared(row, number) for row in rows]
        may_compare = len({(row.view, row.key) for row in rows}) == len(rows)
        ends = await (self._in_chunks(writes) if may_compare else self._evaluate([self._full(w) for w in writes]))
        outrun = [place for place, end in enumerate(ends) if end == OUTRUN]
        again = await self._evaluate([self._full(writes[place]) for place in outrun])
        for place, end in zip(outrun, again, strict=True):
            ends[place] = end
        for write, end in zip(writes, ends, strict=True):
            if end == TAKEN and write.plan.is_comparable:
                row = write.row
                self._last.keep(row.view, row.key, Written(write.stamp, row.guard, row.at_ms, write.values))
        return [end == TAKEN for end in ends]

    async def write_changed(self, rows: Sequence[RowWrite]) -> None:
        """`write_many` for the one owner of rows under their epoch: those that stand as it wrote them are not sent."""
        await self.write_many([row for row in rows if not self._stands(row)])

    def _stands(self, row: RowWrite) -> bool:
        last = self._last.peek(row.view, row.key)
        if last is None or last.guard[0] != row.guard[0] or last.at_ms != row.at_ms:
            return False
        return not changed(last.values, self._plan(row.view).ordered(row.values))

    async def read(self, views: Sequence[str], keys: Sequence[str], now_ms: int) -> list[dict[str, ViewRow]]:
        """For each entity key its row of each view, in one round trip. All `views` must be of one entity.

        The views' ttl is enforced against `now_ms` (Feast does not): an expired row is missing, with its age.
        """
        plans = [self._plan(name) for name in views]
        join_keys = {plan.view.join_key for plan in plans}
        if len(join_keys) != 1:
            raise ValueError(f"views {list(views)} have join keys {sorted(join_keys)}: read one entity at a time")
        fields = [field for plan in plans for field in plan.read_fields]
        replies = await self._replies([("HMGET", plans[0].key(key), *fields) for key in keys])
        return [_view_rows(plans, raw, now_ms) for raw in replies]

    def selection(self, features: Mapping[str, Sequence[str]], widths: Mapping[str, int] | None = None) -> Selection:
        """What to read by `read_columns`: features by view, all views of one entity; `widths` of the vectors."""
        for view in features:
            self._plan(view)
        return Selection(self._plans, features, widths or {})

    async def read_columns(self, wanted: Sequence[tuple[Selection, Sequence[str]]], now_ms: int) -> list[Rows]:
        """For each selection the rows of its entity keys as columns, everything in one round trip.

        As in `read` an expired row is missing. Raises `LayoutError` for stored bytes of another type.
        """
        commands: list[Command] = []
        for selection, keys in wanted:
            commands += [("HMGET", selection.key(key), *selection.fields) for key in keys]
        replies, start, rows = await self._replies(commands), 0, []
        for selection, keys in wanted:
            rows.append(selection.rows(replies[start : start + len(keys)], now_ms))
            start += len(keys)
        return rows

    def _plan(self, name: str) -> RowPlan:
        if name not in self._plans:
            raise ValueError(f"there is no view {name!r}; expected one of {sorted(self._plans)}")
        return self._plans[name]

    def _prepared(self, row: RowWrite, number: int) -> _Write:
        plan = self._plan(row.view)
        values = plan.ordered(row.values)
        last = self._last.take(row.view, row.key)
        if last is not None and last.guard > row.guard:
            last = None
        return _Write(row, plan, plan.key(row.key), values, stamp(row.guard, self._writer, number), last)

    def _command(self, write: _Write) -> Command:
        return self._full(write) if write.last is None else self._changes(write, write.last)

    def _full(self, write: _Write) -> Command:
        parts = write.plan.encoded(write.values, write.row.at_ms)
        return ("EVALSHA", FULL_SHA, 1, write.key, self._ttl_ms, write.plan.stamp, write.stamp, *parts)

    def _changes(self, write: _Write, last: Written) -> Command:
        plan = write.plan
        parts = plan.encoded_part(write.values, changed(last.values, write.values), write.row.at_ms)
        head = ("EVALSHA", CHANGES_SHA, 1, write.key, self._ttl_ms, last.stamp, encode_time(last.at_ms))
        return (*head, plan.stamp, write.stamp, *parts)

    async def _in_chunks(self, writes: Sequence[_Write]) -> list[Any]:
        """The answers to all `writes`; while the store works on a chunk the next is encoded, and the loop may turn."""
        under_way: list[asyncio.Task[list[Any]]] = []
        try:
            for start in range(0, len(writes), CHUNK_ROWS):
                commands = [self._command(write) for write in writes[start : start + CHUNK_ROWS]]
                if len(under_way) >= CHUNKS_UNDER_WAY:
                    await under_way[-CHUNKS_UNDER_WAY]
                under_way.append(asyncio.create_task(self._evaluate(commands)))
                await asyncio.sleep(0)
            return [end for task in under_way for end in await task]
        finally:
            await asyncio.gather(*under_way, return_exceptions=True)

    async def _evaluate(self, commands: Sequence[Command]) -> list[Any]:
        ends = await exchange(self._redis, commands)
        unknown = next((place for place, end in enumerate(ends) if isinstance(end, NoScriptError)), None)
        if unknown is not None:  # a server forgets its scripts at a restart; from there on again, to keep the order
            for script in SCRIPTS:
                await self._redis.script_load(script)
            ends[unknown:] = await exchange(self._redis, commands[unknown:])
        return _accepted(ends)

    async def _replies(self, commands: Sequence[Command]) -> list[Any]:
        return _accepted(await exchange(self._redis, commands))


class _Write(NamedTuple):
    row: RowWrite
    plan: RowPlan
    key: bytes
    values: Values
    stamp: bytes
    last: Written | None


def _accepted(ends: list[Any]) -> list[Any]:
    for end in ends:
        if isinstance(end, Exception):
            raise end
    return ends


def _view_rows(plans: Sequence[RowPlan], raw: Sequence[bytes | None], now_ms: int) -> dict[str, ViewRow]:
    rows, start = {}, 0
    for plan in plans:
        end = start + len(plan.read_fields)
        rows[plan.view.name] = _view_row(plan, raw[start:end], now_ms)
        start = end
    return rows


def _view_row(plan: RowPlan, raw: Sequence[bytes | None], now_ms: int) -> ViewRow:
    age_ms = plan.age_ms(raw[-1], now_ms)
    if age_ms is None or age_ms > plan.view.ttl_ms:
        return ViewRow({}, age_ms, missing=True)
    return ViewRow(plan.decoded(raw), age_ms, missing=False)
