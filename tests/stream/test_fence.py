"""What the fence refuses or repeats is counted, as the ledger counts it."""

from redis.exceptions import ConnectionError as RedisConnectionError

from features.ledger import Counts, Ledger
from features.redis_client import open_redis
from features.settings import Connections
from stream.batching import Batch, Record
from stream.fence import Fence, patiently
from stream.telemetry import FENCED_WRITES, REPLAYED_RECORDS, STORE_RETRIES


async def commit(fence: Fence, epoch: int) -> bool:
    batch = Batch("t", 0, epoch, 0, tuple(Record(offset, 1, b"k", b"v") for offset in range(3)))
    return await fence.commit(batch, {}, Counts(applied=3), 0)


def counted() -> tuple[float, float]:
    return REPLAYED_RECORDS.labels(topic="t")._value.get(), FENCED_WRITES._value.get()


async def test_replayed_records_and_fenced_writes_are_counted_as_the_ledger_counts_them(connections: Connections):
    replayed, fenced = counted()
    async with open_redis(connections) as redis:
        ours, theirs = [Fence(Ledger(redis, "t", connections.prefix), 5.0) for _ in range(2)]
        epoch = (await ours.claim(0)).epoch
        assert await commit(ours, epoch)
        assert not await commit(ours, epoch)
        await theirs.claim(0)
        assert not await commit(ours, epoch)
        told = await ours.ledger.totals([0])
    assert (told.replayed, told.fenced) == (3, 1)
    assert counted() == (replayed + told.replayed, fenced + told.fenced)


async def test_each_call_repeated_after_a_fault_of_the_store_is_counted():
    before, faults = STORE_RETRIES._value.get(), [RedisConnectionError("away"), RedisConnectionError("away")]

    async def call() -> str:
        if faults:
            raise faults.pop()
        return "done"

    assert await patiently(call, 5.0, "testing") == "done"
    assert STORE_RETRIES._value.get() == before + 2
