"""What an event costs with more workers, more users and longer histories: CPU of the worker, Valkey and the broker."""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable
from dataclasses import dataclass, replace

from redis import Redis

from tests.benchmarks import our_line
from tests.benchmarks.launching import Task, measure
from tests.benchmarks.meter import Block
from tests.benchmarks.populating import known_user, populate
from tests.benchmarks.ratios import Ratio
from tests.benchmarks.rounds import Measured, alternate, together
from tests.benchmarks.services import Services, fill
from tests.benchmarks.traffic import Traffic, events

SLACK = 30_000
"""More records than a block asks for: the last fetch is taken whole."""
HISTORY_USERS = 2_000
Advance = Callable[[str, int, int], None]


@dataclass(frozen=True, slots=True)
class Plan:
    """How long it may take: `rounds` of each pair while time lasts; `many` users for the row of a million.

    `warm` is long, so that what fits into the worker's cache is there, as in a worker that lives.
    """

    rounds: int
    warm: int
    events: int
    many: int
    seed: int
    ends_s: float
    """By the monotonic clock."""


@dataclass(frozen=True, slots=True)
class Variant:
    """One side of a pair: who is in the log, and for how many events each was known before."""

    name: str
    traffic: Traffic
    history: int
    store: int


def users(services: Services, plan: Plan, zipf: float, advance: Advance) -> Ratio:
    """Many users against 10,000, each known for 10 events; they come in visits, drawn evenly or by Zipf's law."""
    traffic = Traffic(seed=plan.seed, zipf=zipf)
    return _users(services, plan, traffic, f"users, {'Zipf' if zipf else 'evenly drawn'}", advance)


def users_without_visits(services: Services, plan: Plan, advance: Advance) -> Ratio:
    """The worst case, which no shop has: every event is of another user, so nobody whom a cache holds comes again."""
    return _users(services, plan, Traffic(seed=plan.seed, visits=False), "users without visits", advance)


def _users(services: Services, plan: Plan, traffic: Traffic, label: str, advance: Advance) -> Ratio:
    pair = [
        Variant(f"users{number}", replace(traffic, users=number), 10, store)
        for store, number in ((1, 10_000), (2, plan.many))
    ]
    return _cost(services, plan, pair, label, advance)


def history(services: Services, plan: Plan, advance: Advance) -> Ratio:
    """Users known for 10,000 events against users known for 10."""
    traffic = Traffic(HISTORY_USERS, plan.seed, visits=False)
    pair = [Variant(f"history{number}", traffic, number, store) for store, number in ((1, 10), (2, 10_000))]
    return _cost(services, plan, pair, "history", advance)


def workers(services: Services, plan: Plan, advance: Advance) -> Ratio:
    """Two workers of two partitions each against one of four."""
    pair = [Variant(f"workers{number}", Traffic(seed=plan.seed), 10, number) for number in (1, 2)]
    return _cost(services, plan, pair, "workers", advance, sides={pair[1].name: 2})


def _cost(  # noqa: PLR0917 - one pair, told plainly
    services: Services,
    plan: Plan,
    pair: list[Variant],
    label: str,
    advance: Advance,
    sides: dict[str, int] | None = None,
) -> Ratio:
    """CPU an event of the second variant over the first's; each has a store and a log of its own."""
    named = {variant.name: variant for variant in pair}
    stamp, numbers = f"{label.split(maxsplit=1)[0].strip(',')}-{time.time_ns() % 10**9}", itertools.count()
    for variant in pair:
        _prepare(services, plan, variant, f"{stamp}-{variant.store}", lambda d, t: advance(f"{label}: filling", d, t))

    def run(task: Task) -> Block:
        parts = (sides or {}).get(task.arm, 1)
        share = replace(task, warm=task.warm // parts, events=task.events // parts)
        return together(measure(our_line.state, *[share] * parts))

    def task(name: str, _: int) -> Task:
        store = named[name].store
        return Task(name, services, f"{stamp}-{store}", store, f"g{stamp}{next(numbers)}", plan.warm, plan.events)

    measured: Measured = alternate(
        dict.fromkeys(named, run),
        task,
        rounds=plan.rounds,
        budget_s=plan.ends_s - time.monotonic(),
        seed=plan.seed,
        advance=lambda done, total: advance(label, done, total),
        discarded=int(plan.rounds > 1),
    )
    first, second = named
    return measured.ratio(second, first, cost=True)


def _prepare(
    services: Services, plan: Plan, variant: Variant, prefix: str, advance: Callable[[int, int], None]
) -> None:
    connections = services.connections(prefix, variant.store)
    Redis.from_url(connections.redis_url).flushdb()
    now_ms = time.time_ns() // 1_000_000
    count = (plan.rounds + 1) * (plan.warm + plan.events + SLACK)
    fill(connections, events(variant.traffic, count, now_ms - count))
    state = known_user(variant.history, now_ms - count)
    populate(connections, variant.traffic, state, lambda done: advance(done, variant.traffic.users))
