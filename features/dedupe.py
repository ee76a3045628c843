"""The dedupe window: which event ids were applied, packed so that a full one is stored and searched as bytes.

Ids are kept as 64-bit hashes, oldest first, with the whole second of their events' times: two different ids of one
user meet with probability < 2e-15 in a window of 256.
"""

from __future__ import annotations

import struct

import mmh3

IDENTITY_BYTES = 8
_time_s = struct.Struct("<I")
_LAST_S = 2**32 - 1


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


def remember(ids: bytearray, times_s: bytearray, identity: bytes, at_ms: int) -> None:
    """Appends an id and the time of its event, at least 0."""
    ids += identity
    times_s += _time_s.pack(min(at_ms // 1000, _LAST_S))


def forget(ids: bytearray, times_s: bytearray, expired_ms: int, most: int) -> None:
    """Drops the oldest ids while their second is before that of `expired_ms`, or more than `most`; one id stays."""
    expired_s = expired_ms // 1000
    while len(ids) > IDENTITY_BYTES and (
        len(ids) > most * IDENTITY_BYTES or _time_s.unpack_from(times_s)[0] < expired_s
    ):
        del ids[:IDENTITY_BYTES], times_s[: _time_s.size]
