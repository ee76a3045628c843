"""The line over the outcome topic: what users did with our prompts, folded into their feedback states."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from functools import partial

from features.acceptance import accepted
from features.contract import from_ms
from features.decisions import Outcome
from features.feedback import FeedbackState, fold_outcome
from features.ledger import Counts, Ledger
from features.state import Verdict
from stream.batching import Batch
from stream.dead_letters import DeadLetters
from stream.decoding import Decoded, decode
from stream.fence import Fence
from stream.telemetry import OUTCOMES


class OutcomeLine:
    """Decode, fold, set dead letters aside, commit. `clock` gives the wall clock in ms."""

    def __init__(self, ledger: Ledger, dead_letters: DeadLetters, clock: Callable[[], int], patience_s: float) -> None:
        self.fence = Fence(ledger, patience_s)
        self._dead_letters = dead_letters
        self._clock = clock

    async def process(self, batch: Batch) -> None:
        """Gives a batch its effects, once; drops it when this worker no longer owns the partition.

        Raises what the worker must exit for, as `EventLine.process` does.
        """
        await self.fence.take(batch, self._process)

    async def _process(self, batch: Batch) -> None:
        watermark_ms = self.fence.watermark_ms(batch.partition)
        decoded = decode(batch, partial(accepted, Outcome), watermark_ms, from_ms(self._clock()))
        states, counts = await self._folded(batch.partition, decoded)
        await self._dead_letters.set_aside(decoded.letters)
        blobs = {user: state.to_bytes() for user, state in states.items()}
        if await self.fence.commit(batch, blobs, counts, decoded.watermark_ms):
            for item in decoded.items:
                OUTCOMES.labels(kind=item.message.kind.value).inc()

    async def _folded(self, partition: int, decoded: Decoded[Outcome]) -> tuple[dict[str, FeedbackState], Counts]:
        users = list({item.message.key: None for item in decoded.items})
        blobs = await self.fence.load(partition, users)
        states = {user: FeedbackState.from_bytes(blob) for user, blob in zip(users, blobs, strict=True)}
        ends: Counter[Verdict] = Counter()
        for item in decoded.items:
            state = states[item.message.key]
            ends[fold_outcome(state, item.message, item.at_ms)] += 1
            state.through = item.record.offset
        counts = Counts(ends[Verdict.APPLIED], ends[Verdict.LATE], ends[Verdict.DUPLICATE], len(decoded.letters))
        return states, counts
