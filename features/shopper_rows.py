"""A shopper's two online rows, `user_activity` and `order_state`, straight from the state, as one guarded write.

A row is taken apart into parts, each of which is one thing that the state knows and stands in one or more fields. The
parts that were written last are remembered, so that the next write of a shopper encodes and sends only what changed,
on condition that the store still has exactly the rows that it is a change of.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from itertools import count
from typing import Any, NamedTuple

from features.guarded_writes import evaluate, evaluate_rows
from features.redis_client import Command
from features.row_plan import RowPlan
from features.row_scripts import (
    OUTRUN,
    SHOPPER_CHANGES_SHA,
    SHOPPER_STAMP,
    TAKEN,
    WHOLE_SHA,
    call,
    stamp,
)
from features.state import Order, UserState
from features.store import ROW_TTL_MS
from features.views import COUNTED, ORDER_STATE, USER_ACTIVITY, Dtype
from features.windows import DAY_MS, Tally
from features.wire import ENCODERS, encode_time

REMEMBERED = 50_000
"""Of so many shoppers the parts written last are kept."""

Parts = tuple[Any, ...]
"""What two rows are made of: [0] the newest event's time in ms, [-1] (orders, order id, order) or None, the rest as
`_ENCODERS` say; every part is immutable."""
Encode = Callable[[Any], tuple[bytes, ...]]

_KINDS = tuple(kind.value for kind in COUNTED)
_NEVER = Tally(0.0, 0.0, 0.0, 0.0, 0)
_float, _int, _text = ENCODERS[Dtype.FLOAT32], ENCODERS[Dtype.INT64], ENCODERS[Dtype.STRING]


def parts_of(state: UserState) -> Parts:
    """The parts of a shopper's rows as of the newest event: every tile that is kept counts then."""
    minute, hour, day, week = state.tiles
    newest = state.newest_order()
    return (
        state.last_ms,
        *map(state.tallies.get, _KINDS),
        sum(minute[1::2]),
        sum(hour[1::2]),
        sum(day[1::2]),
        sum(week[1::2]),
        state.session_start_ms,
        state.session_events,
        state.cart_quantity,
        state.prompts_in_session,
        state.locale,
        None if newest is None else (len(state.orders), *newest),
    )


class Written(NamedTuple):
    """A shopper's rows as they stand in the store if nobody else wrote them since: `stamp` says which write it was."""

    stamp: bytes
    guard: tuple[int, int]
    parts: Parts


class _Write(NamedTuple):
    user: str
    parts: Parts
    last: Written | None


class ShopperRows:
    """Writes the rows of one Feast project's shoppers. `redis` is as for `features.store.OnlineRows`."""

    def __init__(self, redis: Any, project: str, ttl_ms: int = ROW_TTL_MS, remembered: int = REMEMBERED) -> None:
        self._redis = redis
        self._ttl = b"%d" % ttl_ms
        self._remembered = remembered
        self._activity, self._orders = (RowPlan(view, project) for view in (USER_ACTIVITY, ORDER_STATE))
        self._encoders = self._compiled()
        self._last: dict[str, Written] = {}
        self._writer = int.from_bytes(os.urandom(4))
        self._writes = count()

    async def write(self, states: Mapping[str, UserState], guard: tuple[int, int]) -> list[bool]:
        """Writes the rows of shoppers by key; says for each whether it took effect.

        One does not when the store holds rows of a greater `guard` (epoch, offset). The states are read before the
        first wait. It takes one round trip, and a second one for shoppers of whom the store had other rows.
        """
        written = stamp(guard, self._writer, next(self._writes) % 10**10)
        writes = [self._prepared(user, state, guard) for user, state in states.items()]
        ends = await evaluate_rows(self._redis, writes, lambda write: self._command(write, written))
        outrun = [place for place, end in enumerate(ends) if end == OUTRUN]
        again = await evaluate(self._redis, [self._whole(writes[place], written) for place in outrun])
        for place, end in zip(outrun, again, strict=True):
            ends[place] = end
        for write, end in zip(writes, ends, strict=True):
            if end == TAKEN:
                self._last[write.user] = Written(written, guard, write.parts)
        while len(self._last) > self._remembered:
            del self._last[next(iter(self._last))]
        return [end == TAKEN for end in ends]

    def _prepared(self, user: str, state: UserState, guard: tuple[int, int]) -> _Write:
        last = self._last.pop(user, None)  # while a write is under way, nobody knows how the rows stand
        return _Write(user, parts_of(state), last if last is None or last.guard <= guard else None)

    def _command(self, write: _Write, written: bytes) -> Command:
        if (last := write.last) is None:
            return self._whole(write, written)
        before, after = last.parts, write.parts
        told: list[bytes] = []
        for encode, old, new in zip(self._encoders, before, after):  # noqa: B905 - all three are of one length
            if old is not new and old != new:
                told += encode(new)
        is_new_day = before[0] // DAY_MS != after[0] // DAY_MS
        had = (self._ttl if is_new_day else b"", last.stamp, encode_time(before[0]), _order_time(before), written)
        return call(SHOPPER_CHANGES_SHA, self._activity.key(write.user), [*had, *told])

    def _whole(self, write: _Write, written: bytes) -> Command:
        told = [part for encode, new in zip(self._encoders, write.parts, strict=True) for part in encode(new)]
        return call(WHOLE_SHA, self._activity.key(write.user), [self._ttl, SHOPPER_STAMP, written, *told])

    def _compiled(self) -> tuple[Encode, ...]:
        """One encoder a part, in the order of `parts_of`: a part -> field, value, field, value ..."""
        ints = ("events_1m", "events_1h", "events_1d", "events_7d")
        return (
            lambda at_ms: (self._activity.time, encode_time(at_ms)),
            *map(self._tally, _KINDS),
            *map(self._number, ints),
            self._session,
            *map(self._number, ("session_events", "cart_quantity", "prompts_in_session")),
            lambda locale: (self._activity.features["locale"], _text(locale)),
            self._order,
        )

    def _tally(self, kind: str) -> Encode:
        hour, day, last = (self._activity.features[f"{name}_{kind}"] for name in ("count_1h", "count_1d", "last_ms"))

        def encode(tally: Tally | None) -> tuple[bytes, ...]:
            told = tally or _NEVER
            return hour, _float(told.hour), day, _float(told.day), last, _int(told.last_ms)

        return encode

    def _number(self, name: str) -> Encode:
        field = self._activity.features[name]
        return lambda number: (field, _int(number))

    def _session(self, start_ms: int) -> tuple[bytes, ...]:
        fields = self._activity.features
        session_id = UserState(session_start_ms=start_ms).session_id
        return fields["session_start_ms"], _int(start_ms), fields["session_id"], _text(session_id)

    def _order(self, newest: tuple[int, str, Order] | None) -> tuple[bytes, ...]:
        if newest is None:
            return ()
        orders, order_id, order = newest
        values = (orders, order_id, order.status, order.at_ms, order.delay_days)
        return tuple(self._orders.encoded(values, order.at_ms))


def _order_time(parts: Parts) -> bytes:
    newest = parts[-1]
    return b"" if newest is None else encode_time(newest[2].at_ms)
