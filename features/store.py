"""Online rows in Feast's own layout: guarded writes, and reads of all views of an entity in one round trip.

A write is one single-key script. Its guard (epoch, offset) is kept per view in the same hash, so that a worker that
lost its partition, or a batch projected twice, never puts an older row over a newer one.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from features.columns import Rows, Selection
from features.guarded_writes import accepted, evaluate, evaluate_rows
from features.redis_client import Command, exchange
from features.row_plan import RowPlan, Values
from features.row_scripts import TAKEN, WHOLE_SHA, call, stamp
from features.views import VIEWS, View
from features.windows import DAY_MS

ROW_TTL_MS = 90 * DAY_MS
"""How long an entity's rows stay in the store after its last write."""


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
        self._ttl = b"%d" % ttl_ms
        self._plans = {view.name: RowPlan(view, project) for view in views}

    async def write(self, view: str, key: str, values: Mapping[str, Any], at_ms: int, guard: tuple[int, int]) -> bool:
        """Writes one row; False when the store holds a row of a greater guard. See `write_many`."""
        return (await self.write_many([RowWrite(view, key, values, at_ms, guard)]))[0]

    async def write_many(self, rows: Sequence[RowWrite]) -> list[bool]:
        """Writes rows, each by itself and in the order given for one key; says for each whether it took effect.

        Raises `LayoutError`: before anything is sent when a row lacks a feature or has an unknown one, and for a value
        of another type when the rows some way before it are written.
        """
        writes = [self._prepared(row) for row in rows]
        if len({(row.view, row.key) for row in rows}) == len(rows):
            ends = await evaluate_rows(self._redis, writes, self._command)
        else:
            ends = await evaluate(self._redis, [self._command(write) for write in writes])
        return [end == TAKEN for end in ends]

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

    def _prepared(self, row: RowWrite) -> _Write:
        plan = self._plan(row.view)
        return _Write(row, plan, plan.ordered(row.values), stamp(row.guard))

    def _command(self, write: _Write) -> Command:
        row, plan = write.row, write.plan
        parts = plan.encoded(write.values, row.at_ms)
        return call(WHOLE_SHA, plan.key(row.key), [self._ttl, plan.stamp, write.stamp, *parts])

    async def _replies(self, commands: Sequence[Command]) -> list[Any]:
        return accepted(await exchange(self._redis, commands))


class _Write(NamedTuple):
    row: RowWrite
    plan: RowPlan
    values: Values
    stamp: bytes


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
