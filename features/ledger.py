"""The truth: users' states, the applied offset, the owner's epoch and the counts of a partition, changed in one step.

All keys of a partition share the hash tag {topic:partition}, so each script runs on one node of a Redis Cluster:

    <prefix.>rgalign:ledger:{<topic>:<partition>}:meta     hash: epoch, applied, watermark, n:<count>
    <prefix.>rgalign:ledger:{<topic>:<partition>}:dirty    hash: user -> offset of the batch that touched them (outbox)
    <prefix.>rgalign:ledger:{<topic>:<partition>}:u:<user> state blob, expires after `ttl_s` without events

Every script checks before it writes, and Redis refuses a script for lack of memory before its first write, so a call
takes effect wholly or not at all. The store must not evict keys (maxmemory-policy noeviction).
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import astuple, dataclass, fields
from typing import Any, Self

from redis.exceptions import NoScriptError

from features.redis_client import Command, exchange

TTL_S = 90 * 86_400
NOTHING_APPLIED = -1
_EPOCH_ONLY = -2


@dataclass(frozen=True, slots=True)
class Counts:
    """Where records ended. `replayed` and `fenced` are refusals and stand beside the sum, not in it."""

    applied: int = 0
    late: int = 0
    duplicate: int = 0
    dead_lettered: int = 0
    replayed: int = 0
    fenced: int = 0

    def __add__(self, other: Self) -> Self:
        return type(self)(*(mine + theirs for mine, theirs in zip(astuple(self), astuple(other), strict=True)))

    @property
    def records(self) -> int:
        """Records that reached their one end: applied + late + duplicate + dead_lettered."""
        return self.applied + self.late + self.duplicate + self.dead_lettered


_COUNTED = tuple(f"n:{field.name}" for field in fields(Counts))


@dataclass(frozen=True, slots=True)
class Claim:
    """A partition taken over: consume from applied + 1; `applied` is -1 where nothing was applied yet."""

    epoch: int
    applied: int
    watermark_ms: int


@dataclass(frozen=True, slots=True)
class Applied:
    """A batch that took effect: the partition's applied offset is now `offset`."""

    offset: int


class LedgerRefusal(RuntimeError):
    """The ledger refused a call; nothing of it took effect."""


class Replayed(LedgerRefusal):
    """Every record of the batch was applied before: skip it. Counted in `replayed`."""


class Overlap(LedgerRefusal):
    """The batch begins with records applied before: drop those up to `applied`, fold again, retry."""

    def __init__(self, text: str, applied: int) -> None:
        super().__init__(text)
        self.applied = applied


class Fenced(LedgerRefusal):
    """Another worker claimed the partition since: stop working on it. Counted in `fenced`."""


class StoreLost(LedgerRefusal):
    """The partition's ledger is gone or went back in time: claim again, seek to applied + 1, rebuild from the log."""


class Ledger:
    """The ledger of one topic's partitions. One instance per worker: it remembers the epochs that it claimed.

    `redis` is a redis.asyncio client (or RedisCluster) that returns bytes and has its own timeouts.
    """

    def __init__(self, redis: Any, topic_full_name: str, prefix: str = "", ttl_s: int = TTL_S) -> None:
        self._redis = redis
        self._topic = topic_full_name
        self._root = f"{prefix}.rgalign:ledger" if prefix else "rgalign:ledger"
        self._ttl_ms = ttl_s * 1000
        self._claims: dict[int, Claim] = {}

    async def claim(self, partition: int) -> Claim:
        """Takes the partition over: every earlier epoch is fenced from now on.

        An epoch is the store's clock in ms, or the last epoch + 1 where that is more, so that it grows even when the
        store was lost in between.
        """
        epoch, applied, watermark_ms = await self._run(_CLAIM, [self._meta(partition)], [])
        claim = Claim(int(epoch), int(applied), int(watermark_ms))
        self._claims[partition] = claim
        return claim

    async def load(self, partition: int, users: Sequence[str]) -> list[bytes | None]:
        """The state blobs of `users` ("tenant:user"), in their order; None for a user not known."""
        if not users:
            return []
        head = self._state(partition, "")
        blobs: list[bytes | None] = await self._call(("MGET", *[head + user for user in users]))
        return blobs

    async def commit(  # noqa: PLR0917 - seven plain facts about one batch
        self,
        partition: int,
        epoch: int,
        first_offset: int,
        last_offset: int,
        states: Mapping[str, bytes],
        counts: Counts,
        watermark_ms: int,
    ) -> Applied:
        """One batch, all or nothing: states, applied offset, watermark, counts, and `states`' users made dirty.

        `counts` says where the batch's records ended. Raises `Fenced`, `Replayed`, `Overlap` or `StoreLost`; checked
        in the order: ledger present, epoch, offsets.
        """
        known = self._claims.get(partition)
        expected = known.applied if known is not None and known.epoch == epoch else _EPOCH_ONLY
        head = self._state(partition, "")
        keys = [self._meta(partition), self._dirty(partition), *[head + user for user in states]]
        numbers = [epoch, first_offset, last_offset, expected, watermark_ms, self._ttl_ms, counts.records]
        ends = [counts.applied, counts.late, counts.duplicate, counts.dead_lettered]
        verdict, found = await self._run(_COMMIT, keys, [*numbers, *ends, *states.keys(), *states.values()])
        if verdict == b"applied":
            self._claims[partition] = Claim(epoch, last_offset, watermark_ms)
            return Applied(last_offset)
        batch = f"{self._topic}[{partition}]@{first_offset}..{last_offset}"
        raise _refusal(verdict, int(found), batch, epoch)

    async def dirty(self, partition: int) -> list[str]:
        """The users whose online rows are behind their state, in no order."""
        return [user.decode() for user in await self._redis.hkeys(self._dirty(partition))]

    async def clean(self, partition: int, users: Iterable[str], through: int | None = None) -> None:
        """Marks `users` as projected, unless a batch after offset `through` touched them again.

        `through` is by default the offset this worker last claimed or committed. Does nothing for a worker that was
        fenced: the new owner projects.
        """
        claim = self._claims.get(partition)
        if claim is None:
            raise Fenced(f"{self._topic}[{partition}] was not claimed by this worker: call claim() before clean()")
        limit = claim.applied if through is None else through
        await self._run(_CLEAN, [self._meta(partition), self._dirty(partition)], [claim.epoch, limit, *users])

    async def applied(self, partition: int) -> int:
        """The last offset applied; -1 for none."""
        found = await self._redis.hget(self._meta(partition), "applied")
        return NOTHING_APPLIED if found is None else int(found)

    async def totals(self, partitions: Iterable[int]) -> Counts:
        """The counts of all `partitions` together, refusals included."""
        total = Counts()
        for partition in partitions:
            found = await self._redis.hmget(self._meta(partition), list(_COUNTED))
            total += Counts(*(int(count or 0) for count in found))
        return total

    def _key(self, partition: int, part: str) -> str:
        return f"{self._root}:{{{self._topic}:{partition}}}:{part}"

    def _meta(self, partition: int) -> str:
        return self._key(partition, "meta")

    def _dirty(self, partition: int) -> str:
        return self._key(partition, "dirty")

    def _state(self, partition: int, user: str) -> str:
        return self._key(partition, f"u:{user}")

    async def _run(self, script: _Script, keys: Sequence[str], arguments: Sequence[Any]) -> Any:
        try:
            return await self._call(("EVALSHA", script.sha, len(keys), *keys, *arguments))
        except NoScriptError:
            return await self._call(("EVAL", script.text, len(keys), *keys, *arguments))

    async def _call(self, command: Command) -> Any:
        """One command, sent once: the client's own retries would hide that an answer was lost."""
        (answer,) = await exchange(self._redis, [command])
        if isinstance(answer, Exception):
            raise answer
        return answer


def _refusal(verdict: bytes, found: int, batch: str, epoch: int) -> LedgerRefusal:
    if verdict == b"fenced":
        return Fenced(
            f"{batch}: the partition has epoch {found}, this worker claimed {epoch}: another worker owns it; "
            "stop working on it until it is assigned again"
        )
    if verdict == b"replayed":
        return Replayed(f"{batch}: offset {found} is applied already; skip the batch")
    if verdict == b"overlap":
        return Overlap(f"{batch}: offset {found} is applied already; retry with the records after it", found)
    if found == _EPOCH_ONLY:
        return StoreLost(f"{batch}: the ledger has no such partition: the store was flushed; claim again and rebuild")
    return StoreLost(
        f"{batch}: the ledger went back to offset {found}: the store restarted from an older copy; claim again "
        "and replay from there"
    )


class _Script:
    def __init__(self, text: str) -> None:
        self.text = text
        self.sha = hashlib.sha1(text.encode(), usedforsecurity=False).hexdigest()


_CLAIM = _Script("""
local old = redis.call('HMGET', KEYS[1], 'epoch', 'applied', 'watermark')
local now = redis.call('TIME')
local epoch = now[1] * 1000 + math.floor(now[2] / 1000)
if old[1] and tonumber(old[1]) >= epoch then epoch = tonumber(old[1]) + 1 end
local text = string.format('%.0f', epoch)
redis.call('HSET', KEYS[1], 'epoch', text, 'applied', old[2] or '-1', 'watermark', old[3] or '0')
return {text, old[2] or '-1', old[3] or '0'}
""")

_COMMIT = _Script("""
local meta = redis.call('HMGET', KEYS[1], 'epoch', 'applied')
if not meta[1] or not meta[2] then return {'lost', '-2'} end
if meta[1] ~= ARGV[1] then
  if tonumber(meta[1]) < tonumber(ARGV[1]) then return {'lost', meta[2]} end
  redis.call('HINCRBY', KEYS[1], 'n:fenced', 1)
  return {'fenced', meta[1]}
end
local applied = tonumber(meta[2])
if applied < tonumber(ARGV[4]) then return {'lost', meta[2]} end
if tonumber(ARGV[3]) <= applied then
  redis.call('HINCRBY', KEYS[1], 'n:replayed', ARGV[7])
  return {'replayed', meta[2]}
end
if tonumber(ARGV[2]) <= applied then return {'overlap', meta[2]} end
redis.call('HSET', KEYS[1], 'applied', ARGV[3], 'watermark', ARGV[5])
local names = {'n:applied', 'n:late', 'n:duplicate', 'n:dead_lettered'}
for place, name in ipairs(names) do
  if ARGV[7 + place] ~= '0' then redis.call('HINCRBY', KEYS[1], name, ARGV[7 + place]) end
end
local users = #KEYS - 2
local dirty = {}
for place = 1, users do
  dirty[2 * place - 1], dirty[2 * place] = ARGV[11 + place], ARGV[3]
  redis.call('SET', KEYS[2 + place], ARGV[11 + users + place], 'PX', ARGV[6])
end
for first = 1, #dirty, 4000 do
  redis.call('HSET', KEYS[2], unpack(dirty, first, math.min(first + 3999, #dirty)))
end
return {'applied', ARGV[3]}
""")

_CLEAN = _Script("""
if redis.call('HGET', KEYS[1], 'epoch') ~= ARGV[1] then return 0 end
local cleaned = 0
for place = 3, #ARGV do
  local offset = redis.call('HGET', KEYS[2], ARGV[place])
  if offset and tonumber(offset) <= tonumber(ARGV[2]) then
    cleaned = cleaned + redis.call('HDEL', KEYS[2], ARGV[place])
  end
end
return cleaned
""")
