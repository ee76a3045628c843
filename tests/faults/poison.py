"""Records that must end as dead letters, and some that look as bad but are good."""

from __future__ import annotations

import json
import random

from tests.shows import spoiled

KEY = spoiled.KEY
DEPTH = 10_000


def _told(text: str) -> bytes:
    """A good event that says `text`, as raw as it is."""
    return json.dumps(
        spoiled.event(id=f"odd-{abs(hash(text)) % 10**9}", data={"topic": text}), ensure_ascii=False
    ).encode()


CORPUS: tuple[bytes, ...] = (
    b"[" * DEPTH,
    b'{"a":' * DEPTH + b"1" + b"}" * DEPTH,
    b'{"id": NaN}',
    b"\x00" * 64,
    b'{"id": "\\ud800", "type": "searched", "time": "2026-01-01T00:00:00Z", "user": "u"}',
    spoiled._json(data={"amount": 7}).replace(b"7}", b"1e308}"),
    spoiled._json(data={"amount": 7}).replace(b"7}", b"-0.0}"),
    spoiled._json(id="nul-1", data={"topic": "a\x00b"}),
    spoiled._json(id="dup-1").replace(b'"user"', b'"id": 7, "user"'),
    spoiled._json(id="dup-2").replace(b'"id"', b'"id": "first", "id"'),
    _told("\u202eevael ot tnaw I\u202c"),
    _told("Z\u0351\u036b\u0343a\u0329\u0348l\u0328\u0334g\u0321\u034fo" * 20),
    _told("\u0000\u200b\ufeff\U0010ffff"),
)
"""Nested ten thousand deep, not a number, lone surrogates, NUL, keys twice, right to left, zalgo."""


def record(draw: random.Random) -> spoiled.Record:
    """One of the corpus, or an event spoiled by chance."""
    if draw.random() < 0.3:
        return KEY, draw.choice(CORPUS)
    seed = draw.randrange(2**31)
    number = draw.randrange(len(spoiled.KINDS) + 2)
    return list(spoiled.records(number + 1, seed))[-1]
