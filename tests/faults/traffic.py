"""Seeded events of many users at a steady rate, with as many spoiled ones as asked for, and who was acknowledged."""

from __future__ import annotations

import random
import threading
import time
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, NamedTuple

import orjson
from kafka import KafkaProducer
from kafka.errors import KafkaError

from features.settings import Connections
from stream.topics import EVENTS
from tests.faults import poison

TICK_S = 0.02
REPEATED_OF = 2000
PLAIN_FIRST = 200
"""The first events are plain: a partition whose watermark is still 0 takes any time for its own."""


@dataclass(frozen=True, slots=True)
class Mix:
    """What the traffic is made of: shares of all records. `is_varied`: no two searches are for the same."""

    rate_per_s: int = 300
    users: int = 200
    is_varied: bool = False
    duplicates: float = 0.0
    shifted: float = 0.0
    poison: float = 0.0


class Sent(NamedTuple):
    """One record; `event_id` is None for one that is no event."""

    key: bytes | None
    value: bytes | None
    event_id: str | None


_DATA: dict[str, dict[str, Any]] = {
    "product_viewed": {"item_title": "Rain jacket"},
    "searched": {"query": "warm socks"},
    "cart_updated": {"quantity": 2},
    "page_viewed": {"page": "category"},
    "order_placed": {"order_id": "o-1"},
    "order_status_changed": {"order_id": "o-1", "order_status": "in_transit"},
    "help_page_opened": {"topic": "Where is my parcel"},
}
_WEIGHTS = (40, 15, 15, 15, 5, 5, 5)


def records(seed: int, mix: Mix) -> Iterator[Sent]:
    """Records without end; the same but for their times whenever the seed is the same."""
    draw, recent = random.Random(seed), deque[Sent](maxlen=REPEATED_OF)
    number = 0
    while True:
        number += 1
        chance = draw.random() if number > PLAIN_FIRST else 1.0
        if chance < mix.duplicates:
            yield draw.choice(recent)
        elif chance < mix.duplicates + mix.poison:
            yield Sent(*poison.record(draw), None)
        else:
            shift_s = _shift_s(draw) if number > PLAIN_FIRST and draw.random() < mix.shifted else 0.0
            user, wanted = f"u{draw.randrange(mix.users)}", f"{number}" if mix.is_varied else ""
            recent.append(event(draw, f"e{seed}-{number}", user, shift_s, wanted))
            yield recent[-1]


def event(draw: random.Random, event_id: str, user: str, shift_s: float = 0.0, wanted: str = "") -> Sent:
    """One good event of now, or of another time; `wanted` makes a search one of its own."""
    (kind,) = draw.choices(tuple(_DATA), _WEIGHTS)
    when = datetime.now(UTC) + timedelta(seconds=shift_s)
    data = {"query": f"warm socks {wanted}"} if wanted and kind == "searched" else _DATA[kind]
    told = {"id": event_id, "type": kind, "time": when.isoformat(), "user": user, "data": data}
    return Sent(f"demo:{user}".encode(), orjson.dumps(told), event_id)


def _shift_s(draw: random.Random) -> float:
    """Out of order by seconds, late or early by up to hours, or a date of 1970 or 2100."""
    now_s = time.time()
    return draw.choice([
        draw.uniform(-30, 30),
        draw.uniform(-3600, 3600),
        draw.uniform(-3600 * 3, -3601),
        draw.uniform(61, 3600),
        86_400 - now_s,
        4_102_444_800 - now_s,
    ])  # fmt: skip


class Traffic:
    """Sends records from a thread of its own until it is stopped. `acked` are the ids a producer was told are safe."""

    def __init__(self, connections: Connections, seed: int, mix: Mix) -> None:
        self.acked: set[str] = set()
        self.sent = self.refused = 0
        self.worst_ack_s = 0.0
        self._topic = connections.named(EVENTS.name)
        self._mix = mix
        self._source = records(seed, mix)
        self._over = threading.Event()
        self._is_closed = False
        self._producer = KafkaProducer(
            bootstrap_servers=connections.kafka_url, acks="all", linger_ms=5, request_timeout_ms=5_000,
            delivery_timeout_ms=120_000, reconnect_backoff_max_ms=500, max_block_ms=5_000,
        )  # fmt: skip
        self._thread = threading.Thread(target=self._run, name="traffic", daemon=True)

    def start(self) -> None:
        """Begins to send."""
        self._thread.start()

    def send(self, record: Sent) -> None:
        """Sends one record at once."""
        self.sent += 1
        began_s = time.monotonic()
        try:
            future = self._producer.send(self._topic, key=record.key, value=record.value)
        except KafkaError:
            self.refused += 1
            return
        future.add_callback(lambda _: self._acknowledged(record.event_id, began_s))
        future.add_errback(self._failed)

    def stop(self) -> None:
        """Ends the thread and waits for all acknowledgements. Stopping twice is harmless."""
        if self._is_closed:
            return
        self._is_closed = True
        self._over.set()
        if self._thread.is_alive():
            self._thread.join()
        self._producer.flush(130)
        self._producer.close()

    def _run(self) -> None:
        due, last_s = 0.0, time.monotonic()
        while not self._over.wait(TICK_S):
            now_s = time.monotonic()
            due, last_s = min(due + (now_s - last_s) * self._mix.rate_per_s, self._mix.rate_per_s), now_s
            while due >= 1:
                due -= 1
                self.send(next(self._source))

    def _acknowledged(self, event_id: str | None, began_s: float) -> None:
        self.worst_ack_s = max(self.worst_ack_s, time.monotonic() - began_s)
        if event_id is not None:
            self.acked.add(event_id)

    def _failed(self, _: object) -> None:
        self.refused += 1
