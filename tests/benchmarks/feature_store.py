"""Rows written and read beside Feast's own ways and a raw client, on the same Valkey, one call of each in turn.

Twenty features a row, half of them float32, all changed by every write. Feast's calls are timed with the conversion
it needs (a frame for `push`, protos for `online_write_batch`), ours with its encoding and its guard. Each way has users
of its own: who comes after another would write over that one's rows. Calls are run by the loop itself: `Runner.run`
guards Ctrl-C, and for that prints the result of every call into a text, a millisecond for a hundred rows of arrays.
"""

from __future__ import annotations

import asyncio
import importlib
import random
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from features import definitions
from features.redis_client import exchange, open_redis
from features.settings import Connections
from features.shopper_rows import ShopperRows
from features.store import OnlineRows, RowWrite
from features.views import INTENT_PACKED, INTENT_STATS, ORDER_STATE, USER_ACTIVITY, Dtype, View, intent_values
from features.windows import DAY_MS
from features.wire import decode_value
from tests.benchmarks.populating import known_user
from tests.benchmarks.ratios import Ratio, ratio

VIEW = View(
    "bench_twenty",
    "shopper",
    "shopper_id",
    {
        **{f"f{number}": Dtype.FLOAT32 for number in range(10)},
        **{f"i{number}": Dtype.INT64 for number in range(7)},
        **{f"s{number}": Dtype.STRING for number in range(3)},
    },
    30 * DAY_MS,
    "twenty features for the benchmark",
)
PROJECT, USERS, BATCH, INTENTS = "bench", 1_000, 100, 100
Advance = Callable[[str, int, int], None]


@dataclass(frozen=True, slots=True)
class Raced:
    """Seconds an operation of each way, call by call."""

    seconds: dict[str, list[float]]

    def ratio(self, ours: str, theirs: str, per: tuple[int, int] = (1, 1)) -> Ratio:
        """Rows a second of `ours` over `theirs`; `per` is how many rows a call of each writes."""
        return ratio([per[0] / s for s in self.seconds[ours]], [per[1] / s for s in self.seconds[theirs]])


def writes(connections: Connections, calls: int, seed: int, advance: Advance) -> Raced:
    """Our `write_many` of 100 rows, Feast's push of one row, and its `online_write_batch` of 100."""
    with tempfile.TemporaryDirectory() as folder:
        feast = _Feast(connections, Path(folder))
        with asyncio.Runner() as runner:
            run = runner.get_loop().run_until_complete
            redis = run(_opened(connections))
            rows = OnlineRows(redis, PROJECT, views=[VIEW])
            offsets = iter(range(1, 10**9))

            def ours(some: list[tuple[str, dict[str, Any]]]) -> None:
                at_ms, guard = time.time_ns() // 1_000_000, (1, next(offsets))
                writes = [RowWrite(VIEW.name, key, values, at_ms, guard) for key, values in some]
                assert all(run(rows.write_many(writes)))

            ways = {"ours": (ours, BATCH), "feast_push": (feast.push, 1), "feast_batch_100": (feast.batch, BATCH)}
            raced = _race(ways, calls, seed, lambda done, total: advance("feature writes", done, total))
            run(redis.aclose())
    return raced


def reads(connections: Connections, calls: int, seed: int, advance: Advance) -> Raced:
    """One user's rows and a packed value of 100 intents: our reader, and the same HMGETs decoded by hand."""
    with asyncio.Runner() as runner:
        run = runner.get_loop().run_until_complete
        redis = run(_opened(connections))
        rows = OnlineRows(redis, PROJECT)
        intents, now_ms = [f"demo:intent-{number}" for number in range(INTENTS)], time.time_ns() // 1_000_000
        run(ShopperRows(redis, PROJECT).write({"demo:u1": known_user(50, now_ms)}, (1, 0)))
        run(_filled(rows, intents, now_ms))
        user = rows.selection({view.name: list(view.features) for view in (USER_ACTIVITY, ORDER_STATE)})
        packed = rows.selection({INTENT_STATS.name: ["packed"]}, {"packed": len(INTENT_PACKED)})

        def ours(_: Any) -> None:
            run(rows.read_columns([(user, ["demo:u1"]), (packed, intents)], now_ms))

        def raw(_: Any) -> None:
            run(_raw(redis, user, packed, intents))

        raced = _race(
            {"ours": (ours, 0), "raw": (raw, 0)}, calls, seed, lambda done, total: advance("reads", done, total)
        )
        run(redis.aclose())
    return raced


async def _raw(redis: Any, user: Any, packed: Any, intents: list[str]) -> tuple[list[Any], Any]:
    commands = [
        ("HMGET", user.key("demo:u1"), *user.fields),
        *(("HMGET", packed.key(i), *packed.fields) for i in intents),
    ]
    told, *stats = await exchange(redis, commands)
    values = [decode_value(dtype, raw) for (dtype, _), raw in zip(user.places.values(), told, strict=False)]
    width = 4 * len(INTENT_PACKED)
    vectors = np.frombuffer(b"".join([raw[0][-width:] for raw in stats]), "<f4").reshape(len(stats), -1)
    return values, vectors


async def _opened(connections: Connections) -> Any:
    return open_redis(connections)


async def _filled(rows: OnlineRows, intents: list[str], now_ms: int) -> None:
    await rows.write_many(
        [RowWrite(INTENT_STATS.name, i, intent_values("v1", 10, 2, 1, 0.2), now_ms, (1, 0)) for i in intents]
    )


def _race(
    ways: dict[str, tuple[Callable[[Any], None], int]], calls: int, seed: int, advance: Callable[[int, int], None]
) -> Raced:
    """`calls` of each way, in random order within each turn, after ten of each that are not counted."""
    order, numbers = random.Random(seed), np.random.default_rng(seed)
    seconds: dict[str, list[float]] = {name: [] for name in ways}
    for turn in range(-10, calls):
        for name in order.sample(list(ways), len(ways)):
            call, size = ways[name]
            some = _some(name, numbers, size)
            began_s = time.perf_counter()
            call(some)
            if turn >= 0:
                seconds[name].append(time.perf_counter() - began_s)
        advance(max(turn + 1, 0), calls)
    return Raced(seconds)


def _some(way: str, numbers: np.random.Generator, size: int) -> list[tuple[str, dict[str, Any]]]:
    users = numbers.choice(USERS, size, replace=False)
    floats, ints = numbers.random((size, 10)), numbers.integers(10**9, size=(size, 7))
    return [
        (
            f"demo:{way}{user}",
            {
                **{f"f{n}": float(floats[row, n]) for n in range(10)},
                **{f"i{n}": int(ints[row, n]) for n in range(7)},
                **{f"s{n}": f"text {ints[row, n]}" for n in range(3)},
            },
        )
        for row, user in enumerate(users.tolist())
    ]


class _Feast:
    """The same view through Feast's own store."""

    def __init__(self, connections: Connections, folder: Path) -> None:
        feast = definitions.import_feast()
        (folder / VIEW.name).mkdir()
        self._store = definitions.open_store(folder / "registry.db", PROJECT, connections.redis_url)
        entity = feast.Entity(name=VIEW.entity, join_keys=[VIEW.join_key], value_type=feast.ValueType.STRING)
        self._store.apply([entity, definitions._feature_view(VIEW, entity, folder)])
        self._view = self._store.get_feature_view(VIEW.name)
        self._provider = self._store._get_provider()
        self._key = importlib.import_module("feast.protos.feast.types.EntityKey_pb2").EntityKey
        self._value = importlib.import_module("feast.protos.feast.types.Value_pb2").Value
        self._fields = {Dtype.FLOAT32: "float_val", Dtype.INT64: "int64_val", Dtype.STRING: "string_val"}

    def push(self, some: list[tuple[str, dict[str, Any]]]) -> None:
        now = datetime.now(UTC)
        frame = pd.DataFrame([{VIEW.join_key: key, **values, "event_timestamp": now} for key, values in some])
        frame = frame.astype({name: "float32" for name, dtype in VIEW.features.items() if dtype is Dtype.FLOAT32})
        self._store.push(f"{VIEW.name}_push", frame.assign(created_timestamp=now))

    def batch(self, some: list[tuple[str, dict[str, Any]]]) -> None:
        now = datetime.now(UTC)
        rows = [(self._entity(key), self._protos(values), now, now) for key, values in some]
        self._provider.online_write_batch(self._store.config, self._view, rows, None)

    def _entity(self, key: str) -> Any:
        return self._key(join_keys=[VIEW.join_key], entity_values=[self._value(string_val=key)])

    def _protos(self, values: dict[str, Any]) -> dict[str, Any]:
        return {name: self._value(**{self._fields[VIEW.features[name]]: value}) for name, value in values.items()}
