"""The log that every arm reads: seeded shop events in sessions, 5 % of which ask for a decision, as canonical bytes.

A peak of 1,000 events a second: `LIVE` shoppers are in the shop at a time, each acts every 2.4 s on average, a visit
has 8 events on average. So a micro-batch of 500 records of one of four partitions holds about 340 different users:
coalescing saves a third of the writes, not nearly all of them.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import orjson

from features.contract import from_ms
from features.events import EventKind
from tests.benchmarks.payloads import VARIANTS, Data, payloads

LIVE = 2_400
VISIT_EVENTS = 8
EVENTS_PER_S = 1_000

QUIET: dict[EventKind, float] = {
    EventKind.PAGE_VIEWED: 0.37, EventKind.PRODUCT_VIEWED: 0.28, EventKind.SEARCHED: 0.10, EventKind.CART_UPDATED: 0.09,
    EventKind.CHECKOUT_STARTED: 0.03, EventKind.ORDER_PLACED: 0.03, EventKind.ORDER_STATUS_CHANGED: 0.04,
    EventKind.ACCOUNT_CHANGED: 0.01,
}  # fmt: skip
TRIGGERS: dict[EventKind, float] = {
    EventKind.HELP_PAGE_OPENED: 0.018, EventKind.CHAT_OPENED: 0.006, EventKind.PAYMENT_FAILED: 0.008,
    EventKind.VOUCHER_REJECTED: 0.006, EventKind.PARCEL_DELAYED: 0.005, EventKind.RETURN_REQUESTED: 0.004,
    EventKind.SIGN_IN_FAILED: 0.003,
}  # fmt: skip
"""The kinds that the policy answers; 5 % together. Viewed pages are none that it answers."""


@dataclass(frozen=True, slots=True)
class Traffic:
    """`users` people, by Zipf's law if `zipf` > 0. `visits`: they come in visits; else every event is of anybody."""

    users: int = 10_000
    seed: int = 1
    visits: bool = True
    zipf: float = 0.0
    name: str = "u"


def events(traffic: Traffic, count: int, start_ms: int, first: int = 0) -> Iterator[tuple[bytes, bytes]]:
    """`count` records (key, value) from `start_ms` on, 1 ms apart; ids begin at number `first`."""
    rng = np.random.default_rng([traffic.seed, first])
    worded = np.random.default_rng(traffic.seed)
    drafts = {kind: payloads(kind, worded) for kind in (*QUIET, *TRIGGERS)}
    kinds = list(drafts)
    shares = np.array([{**QUIET, **TRIGGERS}[kind] for kind in kinds])
    drawn = rng.choice(len(kinds), count, p=shares / shares.sum())
    variants = rng.integers(VARIANTS, size=count)
    for place, user in enumerate(_users(traffic, count, rng)):
        kind, number = kinds[drawn[place]], first + place
        data = drafts[kind][variants[place]]
        data = {**data, "path": f"/en/p/{number % 9973}/{kind.value}?ref=home"}
        if "order_id" in data:
            data = {**data, "order_id": f"o-{user}-{number % 3}"}
        yield record(traffic, number, int(user), (kind, data), start_ms + place * 1000 // EVENTS_PER_S)


def record(traffic: Traffic, number: int, user: int, told: tuple[EventKind, Data], at_ms: int) -> tuple[bytes, bytes]:
    """One event as our gateway writes it: fields in the contract's order, unset ones absent."""
    name = f"{traffic.name}{user}"
    event = {
        "specversion": "1.0",
        "id": f"{traffic.seed:08x}-{traffic.name}-4000-8000-{number:012x}",
        "source": "/shop/web",
        "type": told[0].value,
        "time": from_ms(at_ms).isoformat(timespec="milliseconds").replace("+00:00", "Z"),
        "tenant": "demo",
        "user": name,
        "locale": "es" if user % 5 == 0 else "en",
        "data": told[1],
    }
    return f"demo:{name}".encode(), orjson.dumps(event)


def _users(traffic: Traffic, count: int, rng: np.random.Generator) -> Iterator[int]:
    if not traffic.visits:
        yield from _anybody(traffic, count, rng)
        return
    live = _anybody(traffic, min(LIVE, traffic.users), rng)
    seats, ends = rng.integers(len(live), size=count).tolist(), rng.random(count) < 1 / VISIT_EVENTS
    newcomers = iter(_anybody(traffic, int(ends.sum()), rng))
    for seat, is_last in zip(seats, ends, strict=True):
        yield live[seat]
        if is_last:
            live[seat] = next(newcomers)


def _anybody(traffic: Traffic, count: int, rng: np.random.Generator) -> list[int]:
    if not traffic.zipf:
        return [int(user) for user in rng.integers(traffic.users, size=count)]
    weights = 1.0 / np.arange(1, traffic.users + 1) ** traffic.zipf
    ladder = np.cumsum(weights / weights.sum())
    return [int(user) for user in np.minimum(np.searchsorted(ladder, rng.random(count)), traffic.users - 1)]
