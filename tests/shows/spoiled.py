"""Events spoiled in every way that the issue names, drawn from a seed: what must be refused, set aside and counted."""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Iterator
from datetime import UTC, datetime

Record = tuple[bytes | None, bytes | None]
KEY = b"demo:spoiled"


def event(**changes: object) -> dict[str, object]:
    """A good event but for what is changed."""
    given = {"id": "spoiled-1", "type": "help_page_opened", "time": datetime.now(UTC).isoformat(), "user": "spoiled"}
    return {**given, "data": {"topic": "Returns"}, **changes}


def _json(**changes: object) -> bytes:
    return json.dumps(event(**changes)).encode()


def _bad_json(draw: random.Random) -> bytes:
    whole = _json()
    return draw.choice([whole[: draw.randrange(1, len(whole))], b"{'id': 1}", b"nil", whole + b"}", b"\xef\xbb\xbf"])


def _wrong_type(draw: random.Random) -> bytes:
    field = draw.choice(["id", "type", "time", "user", "data", "specversion"])
    return _json(**{field: draw.choice([7, True, ["x"], {"x": 1}]) if field != "data" else draw.choice([7, "x"])})


def _not_a_number(draw: random.Random) -> bytes:
    name = draw.choice(["amount", "delay_days", "quantity"])
    return _json(data={name: 1}).replace(
        b": 1}", b": " + draw.choice([b"NaN", b"Infinity", b"-Infinity", b"1e999"]) + b"}"
    )


def _out_of_bounds(draw: random.Random) -> bytes:
    return draw.choice([
        _json(data={"quantity": -draw.randrange(1, 9)}),
        _json(data={"amount": 10**8}),
        _json(data={"delay_days": 366}),
        _json(data={"quantity": 2**70}),
        _json(id="x" * 129),
        _json(user="no spaces"),
        _json(tenant="UPPER"),
        _json(time="1969-07-20T20:17:00Z"),
        _json(time="2999-01-01T00:00:00Z"),
        _json(data={"query": "q" * 201}),
    ])  # fmt: skip


def _deep(draw: random.Random) -> bytes:
    depth = draw.randrange(1500, 9000)
    opening, closing = draw.choice([(b"[", b"]"), (b'{"a":', b"}")])
    return _json(data={"topic": "HERE"}).replace(b'"HERE"', opening * depth + b"1" + closing * depth)


def _lone_surrogate(draw: random.Random) -> bytes:
    half = draw.choice([b"\\ud800", b"\\udfff", b"\xed\xa0\x80"])
    return _json(**draw.choice([{"data": {"topic": "HERE"}}, {"id": "HERE"}, {"source": "HERE"}])).replace(
        b"HERE", half
    )


def _oversize(draw: random.Random) -> bytes:
    return _json(padding="x" * draw.randrange(256 * 1024, 260 * 1024))


def _empty(draw: random.Random) -> bytes:
    return draw.choice([b"", b" ", b"\n", b"null", b"[]", b'""'])


def _binary(draw: random.Random) -> bytes:
    return b"\x00\xff" + draw.randbytes(draw.randrange(0, 300))


def _lacking(draw: random.Random) -> bytes:
    kind = draw.choice(["page_viewed", "searched", "cart_updated", "order_placed", "parcel_delayed"])
    return _json(type=kind, data={})


KINDS: tuple[Callable[[random.Random], bytes], ...] = (
    _bad_json, _wrong_type, _not_a_number, _out_of_bounds, _deep, _lone_surrogate, _oversize, _empty, _binary, _lacking,
)  # fmt: skip


def bodies(total: int, seed: int) -> Iterator[bytes]:
    """Events of every kind in turn, to be posted."""
    draw = random.Random(seed)
    for number in range(total):
        yield KINDS[number % len(KINDS)](draw)


def records(total: int, seed: int) -> Iterator[Record]:
    """Records of every kind in turn, to be appended: the same, and good events under a wrong key, and tombstones."""
    draw = random.Random(seed)
    for number in range(total):
        kind = number % (len(KINDS) + 2)
        if kind < len(KINDS):
            yield KEY, KINDS[kind](draw)
        elif kind == len(KINDS):
            yield (
                draw.choice([None, b"", b"demo:someone-else", b"other:spoiled", b"\xff"]),
                _json(id=f"spoiled-{number}"),
            )
        else:
            yield KEY, None
