"""Online rows in Feast's own layout: guarded writes, and reads of all views of an entity in one round trip.

A write is one single-key script. Its guard (epoch, offset) is kept per view in the same hash, so that a worker that
lost its partition, or a batch projected twice, never puts an older row over a newer one.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from redis.exceptions import NoScriptError

from features.views import VIEWS, Dtype, View
from features.windows import DAY_MS
from features.wire import (
    LayoutError,
    decode_time,
    decode_value,
    encode_time,
    encode_value,
    entity_key,
    feature_field,
    guard_field,
    time_field,
)

ROW_TTL_MS = 90 * DAY_MS
"""How long an entity's rows stay in the store after its last write."""

_WRITE = """
local guard = redis.call('HGET', KEYS[1], ARGV[1])
if guard then
  local epoch, offset = string.match(guard, '^(%d+):(%d+)$')
  epoch, offset = tonumber(epoch), tonumber(offset)
  local new_epoch, new_offset = tonumber(ARGV[2]), tonumber(ARGV[3])
  if epoch > new_epoch or (epoch == new_epoch and offset > new_offset) then return 0 end
end
redis.call('HSET', KEYS[1], ARGV[1], ARGV[2] .. ':' .. ARGV[3], unpack(ARGV, 5))
redis.call('PEXPIRE', KEYS[1], ARGV[4])
return 1
"""
_WRITE_SHA = hashlib.sha1(_WRITE.encode(), usedforsecurity=False).hexdigest()


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

    def __init__(self, redis: Any, project: str, ttl_ms: int = ROW_TTL_MS) -> None:
        self._redis = redis
        self._project = project
        self._ttl_ms = ttl_ms

    async def write(self, view: str, key: str, values: Mapping[str, Any], at_ms: int, guard: tuple[int, int]) -> bool:
        """Writes one row; False when the store holds a row of a greater guard. See `write_many`."""
        return (await self.write_many([RowWrite(view, key, values, at_ms, guard)]))[0]

    async def write_many(self, rows: Sequence[RowWrite]) -> list[bool]:
        """Writes rows in one round trip, each by itself; says for each whether it took effect.

        Raises `LayoutError` before anything is sent when a row does not fit its view.
        """
        calls = [self._write_call(row) for row in rows]
        if not calls:
            return []
        ends = await self._evaluate(calls)
        if any(isinstance(end, NoScriptError) for end in ends):
            await self._redis.script_load(_WRITE)
            ends = await self._evaluate(calls)
        for end in ends:
            if isinstance(end, Exception):
                raise end
        return [end == 1 for end in ends]

    async def read(self, views: Sequence[str], keys: Sequence[str], now_ms: int) -> list[dict[str, ViewRow]]:
        """For each entity key its row of each view, in one round trip. All `views` must be of one entity.

        The views' ttl is enforced against `now_ms` (Feast does not): an expired row is missing, with its age.
        """
        plans = [_plan(name) for name in views]
        join_keys = {plan.view.join_key for plan in plans}
        if len(join_keys) != 1:
            raise ValueError(f"views {list(views)} have join keys {sorted(join_keys)}: read one entity at a time")
        fields = [field for plan in plans for field in plan.fields]
        async with self._redis.pipeline(transaction=False) as pipe:
            for key in keys:
                pipe.hmget(entity_key(plans[0].view.join_key, key, self._project), fields)
            found = await pipe.execute() if keys else []
        return [_rows(plans, raw, now_ms) for raw in found]

    def _write_call(self, row: RowWrite) -> list[Any]:
        plan = _plan(row.view)
        if row.values.keys() != plan.view.features.keys():
            lacking, unknown = (
                plan.view.features.keys() - row.values.keys(),
                row.values.keys() - plan.view.features.keys(),
            )
            raise LayoutError(
                f"a row of {row.view} lacks {sorted(lacking)} and has unknown {sorted(unknown)}: "
                "give every feature of the view, None for a missing value"
            )
        epoch, offset = row.guard
        call = [entity_key(plan.view.join_key, row.key, self._project), plan.guard, epoch, offset, self._ttl_ms]
        for (name, dtype), field in zip(plan.view.features.items(), plan.fields[:-1], strict=True):
            call += (field, encode_value(dtype, row.values[name]))
        call += (plan.fields[-1], encode_time(row.at_ms))
        return call

    async def _evaluate(self, calls: Sequence[Sequence[Any]]) -> list[Any]:
        async with self._redis.pipeline(transaction=False) as pipe:
            for call in calls:
                pipe.execute_command("EVALSHA", _WRITE_SHA, 1, *call)
            ends: list[Any] = await pipe.execute(raise_on_error=False)
        return ends


@dataclass(frozen=True, slots=True)
class _Plan:
    view: View
    fields: list[bytes]
    guard: bytes
    dtypes: list[tuple[str, Dtype]]


_PLANS: dict[str, _Plan] = {
    view.name: _Plan(
        view,
        [*(feature_field(view.name, feature) for feature in view.features), time_field(view.name)],
        guard_field(view.name),
        list(view.features.items()),
    )
    for view in VIEWS.values()
}


def _plan(name: str) -> _Plan:
    if name not in _PLANS:
        raise ValueError(f"there is no view {name!r}; expected one of {sorted(_PLANS)}")
    return _PLANS[name]


def _rows(plans: Sequence[_Plan], raw: Sequence[bytes | None], now_ms: int) -> dict[str, ViewRow]:
    rows, start = {}, 0
    for plan in plans:
        end = start + len(plan.fields)
        rows[plan.view.name] = _row(plan, raw[start:end], now_ms)
        start = end
    return rows


def _row(plan: _Plan, raw: Sequence[bytes | None], now_ms: int) -> ViewRow:
    time = raw[-1]
    if time is None:
        return ViewRow({}, None, missing=True)
    age_ms = max(now_ms - decode_time(time), 0)
    if age_ms > plan.view.ttl_ms:
        return ViewRow({}, age_ms, missing=True)
    values = {
        name: None if value is None else decode_value(dtype, value)
        for (name, dtype), value in zip(plan.dtypes, raw[:-1], strict=True)
    }
    return ViewRow(values, age_ms, missing=False)
