"""The one thread that the frozen models run in: a call that outlives its deadline is left behind, not waited for."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import Executor, ThreadPoolExecutor
from typing import Any, TypeVar

import structlog

log = structlog.get_logger(__name__)
Answer = TypeVar("Answer")

MOST_STUCK = 3
"""Calls in a row that may be left behind before the process has to be started again."""


class ReasonerLate(RuntimeError):
    """A call of the model did not end in time; its thread was left behind."""


class ReasonerStuck(RuntimeError):
    """Call after call was left behind: the device hangs, and only a new process can help."""


class ReasonerThread:
    """Runs one call at a time, each within `deadline_s` of its own beginning. `close` waits for nobody."""

    def __init__(self, deadline_s: float) -> None:
        self.deadline_s = deadline_s
        self._executor: Executor = _thread()
        self._turn = asyncio.Lock()
        self._left_behind = 0

    async def call(self, work: Callable[..., Answer], *arguments: object) -> Answer:
        """What `work` answers. Raises what it raises, `ReasonerLate`, `ReasonerStuck` after `MOST_STUCK` of these."""
        async with self._turn:
            future = self.begin(work, *arguments)
            done, _ = await asyncio.wait([future], timeout=self.deadline_s)
            if done:
                self._left_behind = 0
                return future.result()
            future.add_done_callback(_unheard)
            self._leave()
        raise ReasonerLate(
            f"a call of the model did not end within {self.deadline_s:g} s: it is left behind; "
            "a larger RGALIGN_EMBED_DEADLINE_S gives a slow model more time"
        )

    def begin(self, work: Callable[..., Answer], *arguments: object) -> asyncio.Future[Answer]:
        """Starts a call without a deadline: to load a model."""
        return asyncio.get_running_loop().run_in_executor(self._executor, work, *arguments)

    def _leave(self) -> None:
        self._left_behind += 1
        self.close()
        if self._left_behind >= MOST_STUCK:
            raise ReasonerStuck(
                f"{self._left_behind} calls of the model in a row did not end within {self.deadline_s:g} s: "
                "the embedder exits to be started again; see whether its device answers"
            )
        log.warning("reasoner_left_behind", deadline_s=self.deadline_s, in_a_row=self._left_behind)
        self._executor = _thread()

    def close(self) -> None:
        """Takes no more calls; one that runs goes on unheard."""
        self._executor.shutdown(wait=False, cancel_futures=True)


def _thread() -> Executor:
    return ThreadPoolExecutor(1, thread_name_prefix="reason")


def _unheard(future: asyncio.Future[Any]) -> None:
    if not future.cancelled() and (error := future.exception()) is not None:
        log.warning("left_behind_call_failed", error=str(error)[:300])
