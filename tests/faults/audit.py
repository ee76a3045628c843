"""Closing the books of a trial: the log as an independent consumer reads it, against the ledger, states and rows."""

from __future__ import annotations

import asyncio
import hashlib
import math
import time
from collections.abc import Mapping
from dataclasses import asdict, astuple, dataclass
from typing import Any

from redis.asyncio import Redis

from deploy.log_reader import whole_topic
from features.events import EventKind
from features.ledger import Counts, Ledger
from features.settings import Connections
from features.state import UserState
from features.store import OnlineRows
from features.views import USER_ACTIVITY, activity_values, project
from stream.topics import EVENTS
from tests.faults.log_side import by_partition, decisions_amiss, ids, not_in_dlq
from tests.faults.oracle import Expected, Told, expect, totals
from training.rebuild import event_bytes, rebuild, states_digest

ROWS_DEADLINE_S = 30.0
TOLERANCE = 1e-6
HALF_LIFE_S = 86_400.0


@dataclass(frozen=True, slots=True)
class Audit:
    """What was found; every field but `in_log`, `counts` and `expected` is 0 when the invariants hold."""

    in_log: int
    counts: Counts
    expected: Counts
    acked_not_in_log: int
    users_short: int
    users_over: int
    users_unlike: int
    users_dirty: int
    rows_behind: int
    not_in_dlq: int
    decisions_twice: int
    decisions_out_of_order: int
    applied_again: int

    @property
    def lost(self) -> int:
        """Acknowledged ids that are nowhere, records that nobody counted, users who miss an effect."""
        return self.acked_not_in_log + max(self.in_log - self.counts.records, 0) + self.users_short

    @property
    def double_applied(self) -> int:
        """Records counted twice and users with an effect too many."""
        return max(self.counts.records - self.in_log, 0) + self.users_over

    def figures(self) -> dict[str, int]:
        """What is not 0."""
        counted = {
            **asdict(self.counts),
            **{name: value for name, value in asdict(self).items() if isinstance(value, int)},
        }
        return {name: value for name, value in counted.items() if value}

    def checks(self) -> dict[str, bool]:
        """I1 (every record has its one end), I2 (counters and states as the oracles say), I3 (order), and the rest."""
        return {
            "I1 lost = 0": self.lost == 0,
            "I1 counted twice = 0": self.double_applied == 0,
            "I1 ends as the oracle's": astuple(self.counts)[:4] == astuple(self.expected)[:4],
            "I2+I3 states as both oracles'": self.users_unlike == 0,
            "I2 online rows as the states": self.users_dirty == self.rows_behind == 0,
            "I1 every dead letter kept": self.not_in_dlq == 0,
            "no decision twice": self.decisions_twice == 0,
        }


async def audit(connections: Connections, acked: set[str], partitions: int) -> Audit:
    """Reads everything and compares it."""
    log = by_partition(whole_topic(connections, EVENTS.name), partitions)
    expected = {number: expect(records) for number, records in log.items()}
    async with Redis.from_url(connections.redis_url) as redis:
        ledger = Ledger(redis, connections.named(EVENTS.name), connections.prefix)
        counts = await ledger.totals(range(partitions))
        states = {number: await _states(ledger, number, found) for number, found in expected.items()}
        dirty = await _dirty(ledger, partitions)
        behind = await _rows_behind(redis, connections, states)
    short, over, unlike = _users(expected, states, log)
    ends = totals(expected)
    twice, disordered = decisions_amiss(connections)
    return Audit(
        in_log=sum(map(len, log.values())),
        counts=counts,
        expected=Counts(ends["applied"], ends["late"], ends["duplicate"], ends["dead_lettered"]),
        acked_not_in_log=len(acked - ids(log)),
        users_short=short,
        users_over=over,
        users_unlike=unlike,
        users_dirty=dirty,
        rows_behind=behind,
        not_in_dlq=not_in_dlq(connections, expected, log),
        decisions_twice=twice,
        decisions_out_of_order=disordered,
        applied_again=sum(found.applied_again for found in expected.values()),
    )


async def live_digest(connections: Connections, partitions: int) -> str:
    """SHA-256 over all states that the ledger holds, as `training.rebuild` tells it."""
    log = by_partition(whole_topic(connections, EVENTS.name), partitions)
    async with Redis.from_url(connections.redis_url) as redis:
        ledger = Ledger(redis, connections.named(EVENTS.name), connections.prefix)
        states = {number: await _states(ledger, number, expect(records)) for number, records in log.items()}
    digests = {
        number: states_digest({user: state for user, state in found.items() if state is not None})
        for number, found in states.items()
    }
    return hashlib.sha256("".join(f"{n}:{digest}\n" for n, digest in sorted(digests.items())).encode()).hexdigest()


async def _states(ledger: Ledger, partition: int, found: Expected) -> dict[str, UserState | None]:
    users = list(found.users)
    blobs = await ledger.load(partition, users)
    return {u: None if blob is None else UserState.from_bytes(blob) for u, blob in zip(users, blobs, strict=True)}


def _users(
    expected: Mapping[int, Expected], states: Mapping[int, Mapping[str, UserState | None]], log: Mapping[int, list[Any]]
) -> tuple[int, int, int]:
    """Users who miss effects, who have too many, and whose states are not byte for byte what the log folds to."""
    short = over = unlike = 0
    for number, found in expected.items():
        folded = rebuild([_Logged(record) for record in log[number]]).states
        for user, told in found.users.items():
            state = states[number][user]
            difference = _difference(told, state)
            short += difference < -TOLERANCE
            over += difference > TOLERANCE
            unlike += not _is_alike(told, state, folded.get(user))
    return short, over, unlike


class _Logged:
    def __init__(self, record: Any) -> None:
        self.offset, self.timestamp_ms = record.offset, record.timestamp
        self.key, self.value, self.headers = record.key, record.value, record.headers


def _difference(told: Told, state: UserState | None) -> float:
    """By how much the state's decayed counts of all kinds exceed what they should be."""
    if state is None:
        return -float(len(told.events))
    kinds = {kind: max(at for found, at in told.events if found == kind) for kind, _ in told.events}
    found = sum(state.count(EventKind(kind), HALF_LIFE_S, last_ms) for kind, last_ms in kinds.items())
    return found - sum(told.count(kind) for kind in kinds)


def _is_alike(told: Told, state: UserState | None, folded: UserState | None) -> bool:
    if state is None or folded is None:
        return state is folded
    listed = [(event.kind, event.at_ms) for event in state.recent]
    return listed == told.recent() and event_bytes(state) == event_bytes(folded)


async def _dirty(ledger: Ledger, partitions: int) -> int:
    """Users whom the ledger has not seen projected, once the projection had time to follow."""
    give_up_s, dirty = time.monotonic() + ROWS_DEADLINE_S, 1
    while dirty and time.monotonic() < give_up_s:
        await asyncio.sleep(0.2)
        dirty = sum([len(await ledger.dirty(number)) for number in range(partitions)])
    return dirty


async def _rows_behind(
    redis: Any, connections: Connections, states: Mapping[int, Mapping[str, UserState | None]]
) -> int:
    """Users whose online row is not their state's."""
    known = {user: state for some in states.values() for user, state in some.items() if state is not None}
    rows = OnlineRows(redis, project(connections.prefix))
    found = await rows.read([USER_ACTIVITY.name], list(known), time.time_ns() // 1_000_000)
    return sum(
        not _is_same(row[USER_ACTIVITY.name].values, activity_values(state))
        for state, row in zip(known.values(), found, strict=True)
    )


def _is_same(row: Mapping[str, Any], state: Mapping[str, Any]) -> bool:
    return all(_is_equal(row.get(name), value) for name, value in state.items())


def _is_equal(found: Any, value: Any) -> bool:
    if isinstance(value, float):
        return found is not None and math.isclose(found, value, rel_tol=1e-5)
    return bool(_plain(found) == _plain(value))


def _plain(value: Any) -> Any:
    return value if isinstance(value, str | int | None) else list(value)
