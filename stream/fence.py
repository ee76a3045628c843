"""One topic's partitions under the ledger's rules: claims, order, retries, and what to do with each refusal.

| what happens                        | what is done                                                             |
|-------------------------------------|--------------------------------------------------------------------------|
| Redis fails, is full or is loading  | the call is retried in place with backoff; after `patience_s` the worker exits |
| Redis does not let us in            | raised: the worker exits at once                                         |
| the batch is of an older claim      | dropped: the new claim reads it again                                    |
| Replayed                            | dropped: every record was applied (or, after a lost answer, just now)     |
| Overlap                             | the caller folds again what is left                                      |
| Fenced                              | dropped: the partition's new owner reads it again                        |
| StoreLost                           | raised: the worker exits, and its restart rebuilds from the log          |
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TypeVar

import structlog
from redis.exceptions import (
    ClusterDownError,
    MasterDownError,
    OutOfMemoryError,
    ReadOnlyError,
    TryAgainError,
)
from redis.exceptions import (
    ConnectionError as RedisConnectionError,
)
from redis.exceptions import (
    TimeoutError as RedisTimeoutError,
)

from features.contract import origin
from features.ledger import NOTHING_APPLIED, Claim, Counts, Fenced, Ledger, Overlap, Replayed
from features.redis_access import raise_if_refused
from stream.batching import Batch, Start
from stream.telemetry import FENCED_WRITES, REPLAYED_RECORDS, STORE_RETRIES

log = structlog.get_logger(__name__)
Answer = TypeVar("Answer")

BACKOFF_FIRST_S = 0.05
BACKOFF_MAX_S = 2.0
PASSING = (
    RedisConnectionError,
    RedisTimeoutError,
    OutOfMemoryError,
    ReadOnlyError,
    ClusterDownError,
    MasterDownError,
    TryAgainError,
    OSError,
)
"""Faults of a store that may pass by themselves."""


class StoreUnavailable(RuntimeError):
    """Redis failed for longer than a batch may wait; the worker exits, to be started again."""


class MissedRecords(RuntimeError):
    """A batch begins after records that were never applied; the worker exits, and its restart reads them."""


async def patiently(call: Callable[[], Awaitable[Answer]], patience_s: float, doing: str) -> Answer:
    """Makes a call to the store again and again, with backoff, while its faults may pass.

    Raises `StoreUnavailable` after `patience_s`, and `AccessRefused` at once.
    """
    give_up_s = time.monotonic() + patience_s
    backoff_s = BACKOFF_FIRST_S
    while True:
        try:
            return await call()
        except PASSING as error:
            raise_if_refused(error)
            if time.monotonic() + backoff_s > give_up_s:
                raise StoreUnavailable(
                    f"Redis failed for {patience_s:.0f} s while {doing} ({error}): check REDIS_URL and its memory; "
                    "nothing is lost, the worker goes on from the ledger when it is restarted"
                ) from error
            STORE_RETRIES.inc()
            log.warning("store_fails", doing=doing, error=str(error), retry_in_s=backoff_s)
        await asyncio.sleep(backoff_s)
        backoff_s = min(2 * backoff_s, BACKOFF_MAX_S)


@dataclass(frozen=True, slots=True)
class Held:
    """A partition held by this worker: its claim, moved on by each commit."""

    claim: Claim
    is_fenced: bool = False


class Fence:
    """The partitions of one topic that this worker holds. `Owner` for `stream.batching`."""

    def __init__(
        self,
        ledger: Ledger,
        patience_s: float,
        on_claim: Callable[[int, Claim], Awaitable[None]] | None = None,
    ) -> None:
        self.ledger = ledger
        self._patience_s = patience_s
        self._on_claim = on_claim
        self._held: dict[int, Held] = {}

    def is_fenced(self, partition: int) -> bool:
        """Whether another worker took this partition since it was claimed here."""
        held = self._held.get(partition)
        return held is not None and held.is_fenced

    async def claim(self, partition: int) -> Start:
        """Takes a partition over and says where to go on."""
        claim = await self.patiently(lambda: self.ledger.claim(partition), f"claiming partition {partition}")
        self._held[partition] = Held(claim)
        if self._on_claim is not None:
            await self._on_claim(partition, claim)
        return Start(claim.epoch, None if claim.applied == NOTHING_APPLIED else claim.applied + 1)

    def holds(self, batch: Batch) -> bool:
        """Whether a batch is of the present claim. Raises `MissedRecords` for one that leaves a hole."""
        held = self._held.get(batch.partition)
        if held is None or held.is_fenced or held.claim.epoch != batch.epoch:
            return False
        applied = held.claim.applied
        if applied != NOTHING_APPLIED and batch.start > applied + 1:
            raise MissedRecords(
                f"{origin(batch.topic, batch.partition, batch.start)} follows offset {applied}: "
                "the reader skipped records; the worker exits and reads them again from the ledger's offset"
            )
        return True

    async def take(self, batch: Batch, process: Callable[[Batch], Awaitable[None]]) -> None:
        """Gives a batch to `process` if it is of the present claim; again, trimmed, when part of it was applied."""
        left: Batch | None = batch
        while left is not None and self.holds(left):
            left = await _attempt(process, left)

    def watermark_ms(self, partition: int) -> int:
        """The partition's watermark as of its last commit."""
        return self._held[partition].claim.watermark_ms

    async def patiently(self, call: Callable[[], Awaitable[Answer]], doing: str) -> Answer:
        """`patiently` with this fence's patience."""
        return await patiently(call, self._patience_s, doing)

    async def load(self, partition: int, users: Sequence[str]) -> list[bytes | None]:
        """The users' state blobs, however long the store takes (see `patiently`)."""
        return await self.patiently(lambda: self.ledger.load(partition, users), f"loading states of {partition}")

    async def commit(self, batch: Batch, states: Mapping[str, bytes], counts: Counts, watermark_ms: int) -> bool:
        """Applies a batch; False when it was dropped (see the module's table). Raises `Overlap` and `StoreLost`."""
        attempts = 0

        async def commit_once() -> bool:
            nonlocal attempts
            attempts += 1
            try:
                await self.ledger.commit(
                    batch.partition, batch.epoch, batch.first, batch.last, states, counts, watermark_ms
                )
            except Replayed as refusal:
                REPLAYED_RECORDS.labels(topic=batch.topic).inc(len(batch.records))
                log.info("replayed", batch=str(refusal), after_lost_answer=attempts > 1)
                return attempts > 1  # the epoch is ours, so only our own lost answer can have applied it
            return True

        try:
            applied = await self.patiently(
                commit_once, f"committing {origin(batch.topic, batch.partition, batch.last)}"
            )
        except Fenced as refusal:
            self._lose(batch, refusal)
            return False
        self._advance(batch, watermark_ms)
        return applied

    def _advance(self, batch: Batch, watermark_ms: int) -> None:
        held = self._held.get(batch.partition)
        if held is not None and held.claim.epoch == batch.epoch:
            moved = replace(held.claim, applied=max(batch.last, held.claim.applied), watermark_ms=watermark_ms)
            self._held[batch.partition] = Held(moved)

    def _lose(self, batch: Batch, refusal: Fenced) -> None:
        FENCED_WRITES.inc()
        held = self._held.get(batch.partition)
        if held is not None and held.claim.epoch == batch.epoch:
            self._held[batch.partition] = replace(held, is_fenced=True)
            log.warning("fenced", batch=str(refusal))


async def _attempt(process: Callable[[Batch], Awaitable[None]], batch: Batch) -> Batch | None:
    """Nothing when the batch is done, else what is left of it."""
    try:
        await process(batch)
    except Overlap as refusal:
        return replace(batch, records=tuple(record for record in batch.records if record.offset > refusal.applied))
    return None
