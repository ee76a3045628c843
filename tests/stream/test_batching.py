"""The seam under Faust, on a real broker: gapless batches, claims instead of committed offsets, bounded chunks."""

from __future__ import annotations

import asyncio
import inspect
from collections import defaultdict
from types import SimpleNamespace
from typing import Self

import faust
import pytest
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from faust.transport.consumer import Consumer as FaustConsumer
from faust.transport.drivers.aiokafka import AIOKafkaConsumerThread
from faust.transport.drivers.aiokafka import Consumer as FaustAiokafka
from faust.types import TP

from features.settings import Connections
from stream import batching
from stream.batching import Batch, BatchApp, LogShorterThanLedger, Start, chunks
from stream.faust_settings import faust_settings
from stream.settings import WorkerSettings


class Positions:
    """An owner that remembers what was applied, as a ledger does."""

    def __init__(self) -> None:
        self.applied: dict[int, int] = {}
        self.epochs: dict[int, int] = defaultdict(int)
        self.batches: list[Batch] = []
        self.grown = asyncio.Condition()

    async def claim(self, partition: int) -> Start:
        self.epochs[partition] += 1
        applied = self.applied.get(partition)
        return Start(self.epochs[partition], None if applied is None else applied + 1)

    async def apply(self, batch: Batch) -> None:
        assert batch.start <= self.applied.get(batch.partition, -1) + 1, "a hole before this batch"
        async with self.grown:
            self.batches.append(batch)
            self.applied[batch.partition] = batch.last
            self.grown.notify_all()

    async def reached(self, count: int) -> None:
        async with self.grown:
            await self.grown.wait_for(lambda: sum(len(b.records) for b in self.batches) >= count)

    def offsets(self, partition: int) -> list[int]:
        return [r.offset for b in self.batches if b.partition == partition for r in b.records]


async def produced(connections: Connections, topic: str, count: int, size: int = 20) -> None:
    producer = AIOKafkaProducer(bootstrap_servers=connections.kafka_url, linger_ms=5)
    await producer.start()
    sent = [await producer.send(topic, b"%0*d" % (size, i), key=b"u%d" % (i % 97)) for i in range(count)]
    await asyncio.gather(*sent)
    await producer.stop()


class Running:
    """A BatchApp with one agent that applies batches to `positions`."""

    def __init__(self, connections: Connections, topic: str, positions: Positions) -> None:
        self.app = BatchApp(
            connections.named("seam"), owners={topic: positions}, **faust_settings(connections, WorkerSettings())
        )
        source = self.app.topic(topic, key_serializer="raw", value_serializer="raw")
        self.app.agent(source, name="seam")(self.consume)
        self.positions = positions

    async def consume(self, stream: faust.Stream[Batch]) -> None:
        async for batch in stream:
            if batch.epoch == self.positions.epochs[batch.partition]:
                await self.positions.apply(batch)
                self.app.consumer.done(batch)

    async def __aenter__(self) -> Self:
        await asyncio.wait_for(self.app.start(), 30)
        return self

    async def __aexit__(self, *_: object) -> None:
        await asyncio.wait_for(self.app.stop(), 15)

    async def until(self, count: int) -> None:
        async with asyncio.timeout(30):
            await self.positions.reached(count)


async def committed(connections: Connections, topic: str) -> dict[int, int]:
    consumer = AIOKafkaConsumer(bootstrap_servers=connections.kafka_url, group_id=connections.named("seam"))
    await consumer.start()
    found = {p: await consumer.committed(TopicPartition(topic, p)) for p in range(4)}
    await consumer.stop()
    return found


async def committed_up_to(connections: Connections, topic: str, ends: dict[int, int]) -> None:
    for _ in range(20):
        if (found := await committed(connections, topic)) == ends:
            return
        await asyncio.sleep(0.5)
    raise AssertionError(f"committed {found}, expected {ends}")


async def test_every_record_arrives_once_in_order_in_large_batches_and_is_committed(topics: Connections) -> None:
    topic, positions = topics.named("shop.user.events.v1"), Positions()
    await produced(topics, topic, 20_000)
    async with Running(topics, topic, positions) as running:
        await running.until(20_000)
        await committed_up_to(topics, topic, {p: last + 1 for p, last in positions.applied.items()})
    for partition in range(4):
        assert positions.offsets(partition) == list(range(positions.applied[partition] + 1))
    assert max(len(b.records) for b in positions.batches) > 100


async def test_the_owner_and_not_the_committed_offset_says_where_to_go_on(topics: Connections) -> None:
    topic, positions = topics.named("shop.user.events.v1"), Positions()
    await produced(topics, topic, 1000)
    async with Running(topics, topic, positions) as running:
        await running.until(1000)
    wound_back = Positions()
    wound_back.applied = {p: last - 10 for p, last in positions.applied.items()}
    async with Running(topics, topic, wound_back) as running:
        await running.until(40)
    assert sorted(len(wound_back.offsets(p)) for p in range(4)) == [10, 10, 10, 10]


async def test_a_topic_created_anew_over_an_old_ledger_is_refused(topics: Connections) -> None:
    topic, positions = topics.named("shop.user.events.v1"), Positions()
    positions.applied = {0: 4711}
    running = Running(topics, topic, positions)
    starting = asyncio.create_task(running.app.start())
    async with asyncio.timeout(30):
        await running.app._crashed.wait()
    assert isinstance(running.app.crash_reason, LogShorterThanLedger)
    starting.cancel()
    await asyncio.wait_for(running.app.stop(), 15)


def records(*sizes: int) -> list[SimpleNamespace]:
    return [SimpleNamespace(offset=i, value=b"x" * size) for i, size in enumerate(sizes)]


def test_chunks_are_bounded_by_records_and_bytes_and_lose_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(batching, "MAX_RECORDS", 3)
    monkeypatch.setattr(batching, "MAX_BYTES", 100)
    cut = [[r.offset for r in chunk] for chunk in chunks(records(10, 10, 10, 10, 95, 300, 1))]
    assert cut == [[0, 1, 2], [3], [4], [5], [6]]


class Fetching(batching.BatchConsumer):
    """The consumer's bookkeeping alone, without a broker."""

    def __init__(self) -> None:
        self._expected, self._doubted = {TP("t", 0): 5}, {}
        self.seeks: list[int] = []

    async def seek_wait(self, partitions: dict[TP, int]) -> None:
        self.seeks += partitions.values()


async def test_a_hole_is_fetched_again_and_believed_when_seen_twice() -> None:
    consumer, tp = Fetching(), TP("t", 0)
    fetched = [SimpleNamespace(offset=o) for o in (8, 9)]
    assert list(await consumer._fresh(tp, fetched)) == []
    assert consumer.seeks == [5]
    assert [r.offset for r in await consumer._fresh(tp, fetched)] == [8, 9]


async def test_records_delivered_before_are_dropped() -> None:
    fetched = [SimpleNamespace(offset=o) for o in (3, 4, 5, 6)]
    assert [r.offset for r in await Fetching()._fresh(TP("t", 0), fetched)] == [5, 6]


class HeldUp(batching.BatchConsumer):
    """The consumer's flow control alone: `full` partitions wait for their agent, `free` ones are fetched."""

    def __init__(self, full: set[TP], free: set[TP]) -> None:
        self._buffered_partitions, self.free, self.waited = full, free, list[float]()

    def _get_active_partitions(self) -> set[TP]:
        return self.free

    async def _wait_next_records(self, timeout: float) -> tuple[dict[TP, list[object]], set[TP]]:  # noqa: ASYNC109
        self.waited.append(timeout)
        return {}, self.free


@pytest.mark.parametrize(
    ("full", "free", "waited"), [((), (0,), [5.0]), ((0,), (1,), [batching.HELD_UP_S]), ((0, 1), (), [])]
)
async def test_a_full_partition_is_looked_at_again_soon(
    full: tuple[int, ...], free: tuple[int, ...], waited: list[float]
) -> None:
    consumer = HeldUp({TP("t", p) for p in full}, {TP("t", p) for p in free})
    assert [batch async for batch in consumer.getmany(5.0)] == []
    assert consumer.waited == waited


def test_the_seams_below_faust_are_as_this_project_knows_them() -> None:
    """A new Faust version must be read again: these are the places that batching.py replaces or relies on."""
    assert faust.__version__ == "0.15.3"
    assert "await self.sleep(1)" in inspect.getsource(FaustConsumer._wait_next_records)
    assert "fetch_max_wait_ms=1500" in inspect.getsource(AIOKafkaConsumerThread._create_worker_consumer)
    getmany = inspect.getsource(FaustConsumer.getmany)
    assert "self._wait_next_records(timeout)" in getmany
    assert "self.flow_active" in getmany
    assert "self.seek_to_committed()" in inspect.getsource(FaustConsumer.perform_seek)
    assert "self._new_offset(tp)" in inspect.getsource(FaustConsumer._filter_committable_offsets)
    assert "self._add_gap(tp, r_offset + 1, offset)" in inspect.getsource(FaustConsumer._drain_messages)
    assert "record.offset" in inspect.getsource(FaustAiokafka._to_message)
