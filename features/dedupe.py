"""The dedupe window: which event ids were applied, packed so that a full one is stored and searched as bytes.

Ids are kept as 64-bit hashes, oldest first: two different ids of one user meet with probability < 2e-15 in a window
of 256.
"""

from __future__ import annotations

import struct

import mmh3

IDENTITY_BYTES = 8
_time_ms = struct.Struct("<q")


def event_identity(event_id: str) -> bytes:
    """8 bytes that stand for an event id.

    >>> event_identity("e1").hex()
    '1eb23379e67b2243'
    """
    return mmh3.hash_bytes(event_id)[:IDENTITY_BYTES]


def is_known(ids: bytearray, identity: bytes) -> bool:
    """Whether `identity` is one of `ids`: found at a multiple of 8, for it may also lie across two others."""
    place = ids.find(identity)
    while place > 0 and place % IDENTITY_BYTES:
        place = ids.find(identity, place + 1)
    return place >= 0


def remember(ids: bytearray, times_ms: bytearray, identity: bytes, at_ms: int) -> None:
    """Appends an id and the time of its event."""
    ids += identity
    times_ms += _time_ms.pack(at_ms)


def forget(ids: bytearray, times_ms: bytearray, expired_ms: int, most: int) -> None:
    """Drops the oldest ids while they are from before `expired_ms`, or more than `most`; the newest one stays."""
    while len(ids) > IDENTITY_BYTES and (
        len(ids) > most * IDENTITY_BYTES or _time_ms.unpack_from(times_ms)[0] < expired_ms
    ):
        del ids[:IDENTITY_BYTES], times_ms[: _time_ms.size]
