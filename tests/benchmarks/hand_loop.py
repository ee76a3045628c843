"""The 200-line script: aiokafka getmany, orjson, users coalesced by batch, one fenced Redis script a batch.

It keeps what it needs to be fair and no more: states decoded in memory, epochs and offsets checked with the write,
one batch of each partition on its way to Redis while the next is folded. It has no dead letters, no metrics, no
online rows that Feast could read (features are one packed value a user), and no answer to a store that fails.
"""

from __future__ import annotations

import asyncio
import gc
import hashlib
from collections.abc import Callable, Sequence
from typing import Any

import msgspec
from aiokafka import AIOKafkaConsumer, ConsumerRebalanceListener, TopicPartition
from redis.asyncio import Redis

from stream import topics
from tests.benchmarks.hand_fold import decoded, features, fold, new_state
from tests.benchmarks.launching import Task, run_until
from tests.benchmarks.meter import Block

MAX_RECORDS = 10_000
MAX_STATES = 20_000
TTL_MS = 90 * 86_400_000
CLAIM = """
local epoch = redis.call('HINCRBY', KEYS[1], 'epoch', 1)
return {epoch, redis.call('HGET', KEYS[1], 'applied') or '-1', redis.call('HGET', KEYS[1], 'watermark') or '0'}
"""
CHECK = """
local meta = redis.call('HMGET', KEYS[1], 'epoch', 'applied')
if meta[1] ~= ARGV[1] or tonumber(ARGV[2]) <= tonumber(meta[2] or '-1') then return 0 end
"""
WRITE = """
redis.call('HSET', KEYS[1], 'applied', ARGV[3], 'watermark', ARGV[4])
for i = 2, #KEYS do redis.call('SET', KEYS[i], ARGV[4 + i], 'PX', ARGV[5]) end
return 1
"""
FENCED, UNFENCED = (
    hashlib.sha1(script.encode(), usedforsecurity=False).hexdigest() for script in (CHECK + WRITE, WRITE)
)
dumps, loads = msgspec.msgpack.Encoder().encode, msgspec.msgpack.Decoder().decode


class Partition:
    """What is known of one partition: who owns it, how far it is, and the states of its users."""

    def __init__(self, number: int, redis: Any, *, is_fenced: bool) -> None:
        self.number, self.redis, self.is_fenced = number, redis, is_fenced
        self.epoch, self.applied, self.watermark_ms, self.bad = 0, -1, 0, 0
        self.states: dict[str, dict[str, Any]] = {}
        self.writing: asyncio.Task[None] | None = None

    async def claim(self) -> None:
        self.epoch, self.applied, self.watermark_ms = map(int, await self.redis.eval(CLAIM, 1, self._key("meta")))

    def _key(self, part: str) -> str:
        return f"hand:{{{self.number}}}:{part}"

    async def take(self, records: Sequence[Any]) -> None:
        """Folds a batch and sends it to Redis once the one before is there."""
        by_user: dict[str, list[tuple[dict[str, Any], int, int]]] = {}
        for record in records:
            try:
                event, at_ms = decoded(record.value, record.timestamp)
            except (ValueError, KeyError, TypeError):
                self.bad += 1
                continue
            by_user.setdefault(f"{event['tenant']}:{event['user']}", []).append((event, at_ms, self.watermark_ms))
            self.watermark_ms = max(self.watermark_ms, at_ms)
        await self._load([user for user in by_user if user not in self.states])
        touched = []
        for user, events in by_user.items():
            state = self.states[user]
            if sum([fold(state, *event) for event in events]):
                touched.append(user)
        await self.written()
        keys = [self._key(f"{part}:{user}") for part in ("s", "f") for user in touched]
        values = [dumps(self.states[user]) for user in touched]
        values += [dumps(features(self.states[user])) for user in touched]
        offsets = (records[0].offset, records[-1].offset)
        self.writing = asyncio.create_task(self._write(keys, values, offsets, self.watermark_ms))
        for user in list(self.states)[: max(len(self.states) - MAX_STATES // 4, 0)]:
            del self.states[user]

    async def _load(self, users: list[str]) -> None:
        if users:
            blobs = await self.redis.mget([self._key(f"s:{user}") for user in users])
            for user, blob in zip(users, blobs, strict=True):
                self.states[user] = loads(blob) if blob else new_state()

    async def _write(self, keys: list[str], values: list[bytes], offsets: tuple[int, int], watermark_ms: int) -> None:
        script = FENCED if self.is_fenced else UNFENCED
        told = (self.epoch, *offsets, watermark_ms, TTL_MS)
        if not await self.redis.evalsha(script, 1 + len(keys), self._key("meta"), *keys, *told, *values):
            raise RuntimeError(f"partition {self.number} has another owner, or a batch was repeated")

    async def written(self) -> None:
        if self.writing is not None:
            await self.writing


class _Claims(ConsumerRebalanceListener):
    def __init__(self, consumer: Any, redis: Any, *, is_fenced: bool) -> None:
        self.consumer, self.redis, self.is_fenced = consumer, redis, is_fenced
        self.partitions: dict[TopicPartition, Partition] = {}

    async def on_partitions_revoked(self, revoked: set[TopicPartition]) -> None:
        for tp in revoked:
            await self.partitions.pop(tp).written()

    async def on_partitions_assigned(self, assigned: set[TopicPartition]) -> None:
        for tp in assigned:
            partition = Partition(tp.partition, self.redis, is_fenced=self.is_fenced)
            await partition.claim()
            self.consumer.seek(tp, partition.applied + 1)
            self.partitions[tp] = partition


def fenced(task: Task, at_start: Callable[[], None]) -> Block:
    """With the fence: epoch and offset are checked in the script that writes."""
    return run_until(_measured(task, at_start, is_fenced=True))


def unfenced(task: Task, at_start: Callable[[], None]) -> Block:
    """Without: the script writes unasked; a repeated batch or a second owner corrupts the counts."""
    return run_until(_measured(task, at_start, is_fenced=False))


async def _measured(task: Task, at_start: Callable[[], None], *, is_fenced: bool) -> Block:
    connections = task.connections
    redis = Redis.from_url(connections.redis_url)
    for script in (CHECK + WRITE, WRITE):
        await redis.script_load(script)
    consumer = AIOKafkaConsumer(
        bootstrap_servers=connections.kafka_url,
        group_id=task.group,
        enable_auto_commit=False,
        auto_offset_reset="earliest",
        max_partition_fetch_bytes=1024 * 1024,
    )
    claims = _Claims(consumer, redis, is_fenced=is_fenced)
    consumer.subscribe([connections.named(topics.EVENTS.name)], listener=claims)
    await consumer.start()
    gc.freeze()
    gc.set_threshold(100_000, 50, 100)  # the states make no cycles
    await asyncio.to_thread(at_start)
    meter = task.meter()
    done = await _passed(consumer, claims, task.warm)
    meter.begin(done)
    done += await _passed(consumer, claims, task.left(done))
    return meter.end(done)


async def _passed(consumer: Any, claims: _Claims, records: int) -> int:
    """Takes at least `records`, and returns how many when all of them are in Redis."""
    taken, committed_s = 0, asyncio.get_running_loop().time()
    while taken < records:
        for tp, some in (await consumer.getmany(timeout_ms=200, max_records=MAX_RECORDS)).items():
            if (partition := claims.partitions.get(tp)) is not None:  # else it is read again once it is claimed
                await partition.take(some)
                taken += len(some)
        if (now_s := asyncio.get_running_loop().time()) - committed_s > 1.0:
            await asyncio.gather(*(partition.written() for partition in claims.partitions.values()))
            await consumer.commit()
            committed_s = now_s
    for partition in claims.partitions.values():
        await partition.written()
    return taken
