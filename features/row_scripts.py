"""The two scripts that write an online row: the whole row under its guard, or its changes under its last stamp."""

from __future__ import annotations

import hashlib
from functools import lru_cache

OUTRUN = -1
REFUSED = 0
TAKEN = 1
"""What a script answers: the store has another row than the changes are of; a row of a greater guard; neither."""


_PUT = """
for first = {first}, #ARGV, 2000 do
  redis.call('HSET', KEYS[1], unpack(ARGV, first, math.min(first + 1999, #ARGV)))
end
redis.call('PEXPIRE', KEYS[1], ARGV[1])
return 1
"""
FULL = """
local stamp = redis.call('HGET', KEYS[1], ARGV[2])
if stamp and string.sub(stamp, 1, 40) > string.sub(ARGV[3], 1, 40) then return 0 end
""" + _PUT.format(first=2)
"""ARGV: time to live in ms, stamp field, stamp, then field and value in turn (Lua unpacks at most 8,000 at once)."""
CHANGES = """
local found = redis.call('HMGET', KEYS[1], ARGV[4], ARGV[6])
if found[1] ~= ARGV[2] or found[2] ~= ARGV[3] then return -1 end
""" + _PUT.format(first=4)
"""ARGV: time to live in ms, the stamp and time that the store must have, stamp field, stamp, time field, time, then
field and value in turn. Feast's own writes leave the stamp but not the time as it was."""

SCRIPTS = (FULL, CHANGES)
FULL_SHA, CHANGES_SHA = (hashlib.sha1(script.encode(), usedforsecurity=False).hexdigest() for script in SCRIPTS)


@lru_cache(1024)
def stamp(guard: tuple[int, int], writer: int, write: int) -> bytes:
    """What is kept in the stamp field: the guard in digits that compare as text, then which write it was.

    Raises ValueError for a guard that is not two numbers of 0..2^64-1.

    >>> stamp((1, 7), writer=3, write=5)
    b'000000000000000000010000000000000000000700000000030000000005'
    """
    if not (0 <= guard[0] < 2**64 and 0 <= guard[1] < 2**64):
        raise ValueError(f"a row's guard is {guard}, expected (epoch, offset) from 0 to 2^64 - 1")
    return b"%020d%020d%010d%010d" % (*guard, writer, write)
