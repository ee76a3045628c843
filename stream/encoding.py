"""Prompts -> sound vectors, or the reason why there is none: batches that fail are halved within a retry budget.

    out of memory, too late    halve; what then passes is the size of the next batches, doubled after `GROW_AFTER`
    any other failure          halve, to find the prompt that causes it
    wrong shape, NaN, infinity never given out; the sound rows of a batch are

Nothing is tried again without a budget (`stream.retry_budget`): under a fault that stays, each prompt is tried once.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import structlog
from numpy.typing import NDArray

from features.reasoner import Encoder
from stream.reasoner_thread import ReasonerLate, ReasonerStuck, ReasonerThread
from stream.retry_budget import RetryBudget
from stream.telemetry import REASONER_FAILURES

log = structlog.get_logger(__name__)

F32 = NDArray[np.float32]

GROW_AFTER = 20
MOST_BARREN = 20
"""Calls in a row without one sound vector, after which only a new process can help."""

_OUT_OF_MEMORY = ("out of memory", "can't allocate memory", "bad_alloc", "failed to allocate", "alloc_failed")


class ReasonerBroken(RuntimeError):
    """Call after call gave nothing that can be stored."""


@dataclass(slots=True)
class Encoded:
    """Sound vectors f32[H] by state hash, and why each other prompt has none."""

    vectors: dict[str, F32] = field(default_factory=dict)
    failed: dict[str, str] = field(default_factory=dict)

    def add(self, other: Encoded) -> None:
        """Adds what another part of the batch gave."""
        self.vectors |= other.vectors
        self.failed |= other.failed


@dataclass(slots=True)
class Encoding:
    """The reasoner behind its safeguards. `most` prompts go into it at once, fewer after it ran out of memory."""

    reasoner: Encoder
    thread: ReasonerThread
    most: int
    budget: RetryBudget = field(default_factory=RetryBudget)
    size: int = field(init=False)
    _passed: int = 0
    _barren: int = 0

    def __post_init__(self) -> None:
        self.size = self.most

    async def encode(self, prompts: Mapping[str, str]) -> Encoded:
        """The vectors of prompts by state hash. Raises `ReasonerStuck`, `ReasonerBroken`: start the process again."""
        found, left = Encoded(), list(prompts.items())
        self.budget.earn(len(left))
        while left:
            size = self.size
            found.add(await self._part(left[:size]))
            left = left[size:]
        return found

    async def _part(self, part: Sequence[tuple[str, str]]) -> Encoded:
        try:
            states = await self.thread.call(self.reasoner.embed, [text for _, text in part])
        except ReasonerStuck:
            raise
        except Exception as error:  # noqa: BLE001 - the runtimes' errors share no base; each is counted and bounded
            return await self._halved(part, error)
        return self._sound(part, states)

    async def _halved(self, part: Sequence[tuple[str, str]], error: Exception) -> Encoded:
        kind, why = failure_kind(error), f"{type(error).__name__}: {error}"[:300]
        self._note(kind, len(part), why)
        half = (len(part) + 1) // 2
        if kind != "error":
            self.size, self._passed = max(half if len(part) > 1 else 1, 1), 0
        if len(part) == 1 or not self.budget.take(len(part)):
            return Encoded(failed={name: why for name, _ in part})
        found = await self._part(part[:half])
        found.add(await self._part(part[half:]))
        return found

    def _sound(self, part: Sequence[tuple[str, str]], states: F32) -> Encoded:
        expected = (len(part), self.reasoner.width)
        if states.shape != expected:
            why = f"the reasoner gave shape {states.shape}, expected {expected}"
            self._note("width", len(part), why)
            return Encoded(failed={name: why for name, _ in part})
        found = Encoded()
        for (name, _), state in zip(part, states, strict=True):
            if np.isfinite(state).all():
                found.vectors[name] = state
            else:
                found.failed[name] = "the reasoner gave numbers that are not finite"
        if found.failed:
            self._note("not_finite", len(found.failed), found.failed[next(iter(found.failed))])
        if found.vectors:
            self._barren = 0
            self._grow()
        return found

    def _grow(self) -> None:
        self._passed += 1
        if self.size < self.most and self._passed >= GROW_AFTER:
            self.size, self._passed = min(2 * self.size, self.most), 0

    def _note(self, kind: str, prompts: int, why: str) -> None:
        REASONER_FAILURES.labels(kind=kind).inc()
        log.warning("reasoner_failed", kind=kind, prompts=prompts, why=why)
        self._barren += 1
        if self._barren >= MOST_BARREN:
            raise ReasonerBroken(
                f"{self._barren} calls of the reasoner in a row gave nothing that can be stored, the last one: {why}; "
                "the embedder exits to be started again; prompts flow on older vectors or the null query meanwhile"
            )


def failure_kind(error: Exception) -> str:
    """Oom | late | error: what a model's runtime (torch, ONNX Runtime, NumPy) means by an exception.

    >>> failure_kind(RuntimeError("CUDA out of memory. Tried to allocate 2.00 GiB"))
    'oom'
    """
    if isinstance(error, ReasonerLate):
        return "late"
    text = str(error).lower()
    return "oom" if isinstance(error, MemoryError) or any(sign in text for sign in _OUT_OF_MEMORY) else "error"
