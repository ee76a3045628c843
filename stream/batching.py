"""Micro-batches below Faust's stream iterator: an agent receives the records of one partition as one `Batch`.

Faust keeps its life cycle, assignment, flow control, commits and timers; this seam changes five things about the
topics that have an `Owner` (all other topics stay as Faust has them), pinned to faust-streaming 0.15.3:

1. `getmany` yields one message per partition and chunk instead of one per record. A chunk is what lies at hand, so
   a batch never waits to be filled; it is bounded by `MAX_RECORDS` and `MAX_BYTES`, and the queue of an agent by
   Faust's `stream_buffer_maxsize`, beyond which the partition is no longer fetched.
2. After every assignment each partition is claimed from its owner, which says where to go on; Kafka's committed
   offset is only a hint for people and for lag.
3. The committed offset is what `done` was told after the effects, never what was merely acknowledged.
4. The chunks of a claim are gapless: `Batch.start` is the end of the one before, or what the claim asked for. A hole
   in the log (retention, transactions) is believed only when it is seen twice; a hole that a race in the fetcher made
   is fetched again.
5. Nothing waits for what is not there: neither for a second because all agents had too much to do, nor for records of
   empty partitions while others have some.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol, cast

import faust
import structlog
from faust.transport.consumer import ensure_TP
from faust.transport.drivers.aiokafka import AIOKafkaConsumerThread, Consumer, Transport
from faust.types import TP, ConsumerMessage
from msgspec import Struct

log = structlog.get_logger(__name__)

MAX_RECORDS = 4000
"""The most records in one batch."""

MAX_BYTES = 1024 * 1024
"""The most value bytes in one batch of more than one record."""


FETCH_WAIT_MS = 50
"""How long a fetch waits at the broker for records. The client has one fetch under way a broker: one of empty
partitions alone, sent while the others' records lie at hand, holds up the next of those, for 1.5 s as Faust sets it."""
HELD_UP_S = 0.01
"""How soon to look again whether partitions whose agent had too much to do are to be fetched again."""


class Record(Struct, frozen=True, gc=False):
    """One record as the broker has it; `timestamp_ms` is the broker's (or producer's) time."""

    offset: int
    timestamp_ms: int
    key: bytes | None
    value: bytes | None
    headers: Sequence[tuple[str, bytes]] = ()


@dataclass(frozen=True, slots=True)
class Batch:
    """All records of one partition from offset `start` to `last`, read under the claim `epoch`."""

    topic: str
    partition: int
    epoch: int
    start: int
    records: tuple[Record, ...]

    @property
    def first(self) -> int:
        """The offset of the first record (>= start)."""
        return self.records[0].offset

    @property
    def last(self) -> int:
        """The offset of the last record."""
        return self.records[-1].offset


class Start(NamedTuple):
    """Where a claimed partition goes on: the owner's epoch and the next offset, None for the earliest."""

    epoch: int
    offset: int | None


class Owner(Protocol):
    """Who owns a topic's position: asked once for each partition of every assignment."""

    async def claim(self, partition: int) -> Start:
        """Takes the partition over and says where to go on."""
        ...


class BatchConsumerThread(AIOKafkaConsumerThread):
    """Faust's thread of the client, with a client that does not wait long for empty partitions."""

    def _create_worker_consumer(self, transport: Any) -> Any:
        client = super()._create_worker_consumer(transport)
        client._fetch_max_wait_ms = FETCH_WAIT_MS  # noqa: SLF001 - Faust gives no setting for it
        return client


class LogShorterThanLedger(RuntimeError):
    """A partition ends before the offset that its ledger says was applied: the topic was created anew."""


class BatchConsumer(Consumer):
    """Faust's aiokafka consumer, handing over batches; see the module's docstring."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._owners: Mapping[str, Owner] = cast("BatchApp", self.app).owners
        self._epochs: dict[TP, int] = {}
        self._expected: dict[TP, int] = {}
        self._asked: dict[TP, int] = {}
        self._doubted: dict[TP, tuple[int, int]] = {}
        self._done: dict[TP, int] = {}

    def _new_consumer_thread(self) -> BatchConsumerThread:
        return BatchConsumerThread(self, loop=self.loop, beacon=self.beacon)

    @property
    def claimed(self) -> frozenset[TP]:
        """The partitions that this worker owns by claim."""
        return frozenset(self._expected)

    @property
    def positions(self) -> Mapping[TP, int]:
        """For each claimed partition the offset below which all effects are in place."""
        return self._done

    def done(self, batch: Batch) -> None:
        """Tells that all effects of a batch are in place, so that its offset may be committed."""
        tp = TP(batch.topic, batch.partition)
        if self._epochs.get(tp) == batch.epoch:
            self._done[tp] = batch.last + 1

    async def on_partitions_revoked(self, revoked: set[TP]) -> None:
        """Forgets the claims on what is taken away."""
        await super().on_partitions_revoked(revoked)
        for tp in revoked:
            self._forget(tp)

    def _forget(self, tp: TP) -> None:
        for known in (self._epochs, self._expected, self._asked, self._doubted, self._done):
            known.pop(tp, None)

    async def seek_to_committed(self) -> Mapping[TP, int]:
        """Claims every assigned partition and seeks to where its owner says. Called once an assignment."""
        assigned = {tp for tp in self.assignment() if tp.topic in self._owners}
        if assigned != self.assignment():
            raise RuntimeError(f"no owner for {self.assignment() - assigned}: register one for each topic of an agent")
        starts = await self._claim(assigned)
        if starts:
            await self.seek_wait(starts)
        return starts

    async def _claim(self, assigned: set[TP]) -> dict[TP, int]:
        for tp in list(self._expected):
            self._forget(tp)
        if not assigned:
            return {}
        earliest = {ensure_TP(tp): offset for tp, offset in (await self.earliest_offsets(*assigned)).items()}
        ends = {ensure_TP(tp): offset for tp, offset in (await self.highwaters(*assigned)).items()}
        starts = {}
        for tp in sorted(assigned):
            claim = await self._owners[tp.topic].claim(tp.partition)
            starts[tp] = _position(tp, claim.offset, earliest[tp], ends[tp])
            self._epochs[tp] = claim.epoch
            self._asked[tp] = starts[tp] if claim.offset is None else claim.offset
        self._expected.update(starts)
        self._done.update(starts)
        log.info("claimed", partitions={f"{tp.topic}[{tp.partition}]": offset for tp, offset in starts.items()})
        return starts

    async def getmany(self, timeout: float) -> AsyncIterator[tuple[TP, ConsumerMessage]]:  # noqa: ASYNC109
        """Fetches what lies at hand and yields it as one message a chunk, partition by partition."""
        if self._buffered_partitions:  # Faust would sleep for a second, or wait for the others alone
            timeout = HELD_UP_S
            if not self._get_active_partitions():
                await asyncio.sleep(timeout)
                return
        records, active = await self._wait_next_records(timeout)
        if not records or self.should_stop:
            return
        for partition, fetched in records.items():
            tp = ensure_TP(partition)
            if active is not None and tp not in active and tp not in self._buffered_partitions:
                continue
            for chunk in chunks(await self._fresh(tp, fetched)):
                if not self.flow_active or tp not in self._expected:
                    break
                yield tp, self._as_message(tp, chunk)

    async def _fresh(self, tp: TP, fetched: Sequence[Any]) -> Sequence[Any]:
        """The records that follow the last chunk; none while a hole before them is not confirmed."""
        expected = self._expected.get(tp)
        if expected is None:
            return ()
        fresh = fetched if fetched[0].offset >= expected else [r for r in fetched if r.offset >= expected]
        if fresh and fresh[0].offset > expected and not await self._is_hole_confirmed(tp, expected, fresh[0].offset):
            return ()
        return fresh

    async def _is_hole_confirmed(self, tp: TP, expected: int, found: int) -> bool:
        if self._doubted.get(tp) == (expected, found):
            log.warning("hole_in_log", at=f"{tp.topic}[{tp.partition}]@{expected}", next_offset=found)
            return True
        self._doubted[tp] = (expected, found)
        await self.seek_wait({tp: expected})
        return False

    def _as_message(self, tp: TP, chunk: Sequence[Any]) -> ConsumerMessage:
        records = tuple([Record(r.offset, r.timestamp or 0, r.key, r.value, r.headers) for r in chunk])
        start = self._asked.pop(tp, self._expected[tp])
        batch = Batch(tp.topic, tp.partition, self._epochs[tp], start, records)
        self._expected[tp] = batch.last + 1
        self.app.monitor.track_tp_end_offset(tp, self.highwater(tp))
        message = self._to_message(tp, chunk[-1])
        message.value = cast("Any", batch)
        return message

    async def _add_gap(self, tp: TP, offset_from: int, offset_to: int) -> None:
        """Chunks skip offsets by design: nothing to note."""

    def _new_offset(self, tp: TP) -> int | None:
        """What may be committed: the end of the last batch that is done."""
        self._acked[tp].clear()
        self._acked_index[tp].clear()
        return self._done.get(tp)


def _position(tp: TP, offset: int | None, earliest: int, end: int) -> int:
    """The offset to seek to; says loudly when the log no longer holds it."""
    at = f"{tp.topic}[{tp.partition}]"
    if offset is None:
        return earliest
    if offset > end:
        raise LogShorterThanLedger(
            f"{at} ends at {end}, but its ledger has applied everything below {offset}: the topic was created anew "
            "over old state; choose another RGALIGN_PREFIX, or delete the ledger's keys of this topic"
        )
    if offset < earliest:
        log.error("records_expired_before_they_were_read", at=f"{at}@{offset}", earliest=earliest)
    return max(offset, earliest)


def chunks(fetched: Sequence[Any]) -> Iterator[Sequence[Any]]:
    """Cuts fetched records into runs of at most `MAX_RECORDS` records and `MAX_BYTES` value bytes (or one record)."""
    begin = size = 0
    for index, record in enumerate(fetched):
        weight = len(record.value or b"")
        if index > begin and (index - begin >= MAX_RECORDS or size + weight > MAX_BYTES):
            yield fetched[begin:index]
            begin, size = index, 0
        size += weight
    if begin < len(fetched):
        yield fetched[begin:]


class BatchTransport(Transport):
    """Faust's aiokafka transport with our consumer."""

    Consumer = BatchConsumer


class BatchApp(faust.App):
    """A Faust app whose agents receive batches of the topics in `owners` (full topic name -> owner)."""

    def __init__(self, app_id: str, *, owners: Mapping[str, Owner], **settings: Any) -> None:
        super().__init__(app_id, **settings)
        self.owners = owners

    def _new_transport(self) -> BatchTransport:
        return BatchTransport(self.conf.broker_consumer, self)
