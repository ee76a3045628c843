"""The scripts that write online rows under their guard, and the stamp that keeps the guard beside the row."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from functools import lru_cache

from features.redis_client import Command
from features.views import ORDER_STATE, USER_ACTIVITY
from features.wire import stamp_field, time_field

OUTRUN = -1
REFUSED = 0
TAKEN = 1
"""What a script answers: the store has another row than the changes are of; a row of a greater guard; neither."""

SHOPPER_STAMP = stamp_field("shopper")
"""The stamp of a shopper's rows, which are written together."""
SHOPPER_TIMES = tuple(time_field(view.name).decode() for view in (USER_ACTIVITY, ORDER_STATE))

WHOLE = """
local told = cmsgpack.unpack(ARGV[1])
local stamp = redis.call('HGET', KEYS[1], told[2])
if stamp and string.sub(stamp, 1, 40) > string.sub(told[3], 1, 40) then return 0 end
for first = 2, #told, 2000 do
  redis.call('HSET', KEYS[1], unpack(told, first, math.min(first + 1999, #told)))
end
redis.call('PEXPIRE', KEYS[1], told[1])
return 1
"""
"""ARGV: one `packed` list, which costs less than its parts as arguments: time to live in ms, stamp field, stamp, then
field and value in turn (Lua unpacks at most 8,000 at once)."""
SHOPPER_CHANGES = f"""
local told = cmsgpack.unpack(ARGV[1])
local found = redis.call('HMGET', KEYS[1], '{SHOPPER_STAMP.decode()}', '{SHOPPER_TIMES[0]}', '{SHOPPER_TIMES[1]}')
if found[1] ~= told[2] or found[2] ~= told[3] or (found[3] or '') ~= told[4] then return -1 end
redis.call('HSET', KEYS[1], '{SHOPPER_STAMP.decode()}', unpack(told, 5))
if told[1] ~= '' then redis.call('PEXPIRE', KEYS[1], told[1]) end
return 1
"""
"""ARGV: one `packed` list: time to live in ms or '' to leave it, the stamp and the two times that the store must have
('' = no such row), the new stamp, then field and value in turn. Feast's own writes leave the stamp but not the time as
it was."""

SCRIPTS = (WHOLE, SHOPPER_CHANGES)
WHOLE_SHA, SHOPPER_CHANGES_SHA = (
    hashlib.sha1(script.encode(), usedforsecurity=False).hexdigest().encode() for script in SCRIPTS
)


@lru_cache(1024)
def stamp(guard: tuple[int, int], writer: int = 0, write: int = 0) -> bytes:
    """What is kept in the stamp field: the guard in digits that compare as text, then which write it was.

    Raises ValueError for a guard that is not two numbers of 0..2^64-1.

    >>> stamp((1, 7), writer=3, write=5)
    b'000000000000000000010000000000000000000700000000030000000005'
    """
    if not (0 <= guard[0] < 2**64 and 0 <= guard[1] < 2**64):
        raise ValueError(f"a row's guard is {guard}, expected (epoch, offset) from 0 to 2^64 - 1")
    return b"%020d%020d%010d%010d" % (*guard, writer, write)


class _Heads(dict[int, bytes]):
    def __missing__(self, length: int) -> bytes:
        return b"\xda" + length.to_bytes(2) if length < 1 << 16 else b"\xdb" + length.to_bytes(4)


_HEADS = _Heads({length: bytes([0xA0 | length]) for length in range(32)})


def packed(texts: Sequence[bytes]) -> bytes:
    """At most 65,535 byte strings as one msgpack list, in the raw format, for scripts know no other kind of bytes.

    >>> packed([b"a", b""]).hex()
    'dc0002a161a0'
    """
    parts = [b""] * (2 * len(texts))
    parts[::2] = map(_HEADS.__getitem__, map(len, texts))
    parts[1::2] = texts
    return b"\xdc" + len(texts).to_bytes(2) + b"".join(parts)


def call(sha: bytes, key: bytes, told: Sequence[bytes]) -> Command:
    """The command that runs one of `SCRIPTS` on a key."""
    return "EVALSHA", sha, 1, key, packed(told)
