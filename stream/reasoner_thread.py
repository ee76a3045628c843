"""The one thread that the frozen models run in: a call that outlives its deadline is left behind, not waited for.

On a CPU that others use, the thread goes last (`go_last`): niceness alone makes whoever wakes up wait for the end of a
slice of the model's, some milliseconds at each hop of an event. On a machine without a core to spare a call would then
never end; so one that is late is begun again by a thread that takes its share.
"""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Callable
from concurrent.futures import Executor, ThreadPoolExecutor
from typing import Any, TypeVar

import structlog

log = structlog.get_logger(__name__)
Answer = TypeVar("Answer")

GOING_LAST_S = 5.0
"""How long a call may go last before it is begun again; who needs half of that anyway does not go last."""
SHARE_S = 60.0
"""How long calls take their share after that."""
TURNS = 10
"""A wait is made of so many: one in which the whole process stood still (stopped, swapped out) is no more than one."""
MOST_STUCK = 3
"""Calls in a row that may be left behind before the process has to be started again."""


class ReasonerLate(RuntimeError):
    """A call of the model did not end in time; its thread was left behind."""


class ReasonerStuck(RuntimeError):
    """Call after call was left behind: the device hangs, and only a new process can help."""


class ReasonerThread:
    """Runs one call at a time, each within `deadline_s` of its own beginning. `close` waits for nobody."""

    def __init__(self, deadline_s: float, going_last_s: float = GOING_LAST_S) -> None:
        self.deadline_s = deadline_s
        self._executor: Executor = _thread()
        self._turn = asyncio.Lock()
        self._left_behind = 0
        self._last: Executor | None = None
        self._going_last_s = going_last_s
        self._late: asyncio.Future[Any] | None = None
        self._share_until_s = self._took_s = 0.0

    def go_last(self) -> None:
        """From now on calls use what the machine's other threads leave over. Where the system has no such thing: no."""
        if hasattr(os, "SCHED_IDLE"):
            self._last = ThreadPoolExecutor(1, thread_name_prefix="reason-last", initializer=_go_last)

    async def call(self, work: Callable[..., Answer], *arguments: object) -> Answer:
        """What `work` answers. Raises what it raises, `ReasonerLate`, `ReasonerStuck` after `MOST_STUCK` of these."""
        async with self._turn:
            if self._last is not None and self._may_go_last():
                future = await self._run(self._last, self._going_last_s, work, *arguments)
                if future.done():
                    return future.result()
                self._late, self._share_until_s = future, time.monotonic() + SHARE_S
                log.info("reasoner_takes_its_share", after_s=self._going_last_s, for_s=SHARE_S)
            future = await self._run(self._executor, self.deadline_s, work, *arguments)
            if future.done():
                self._left_behind = 0
                return future.result()
            self._leave()
        raise ReasonerLate(
            f"a call of the model did not end within {self.deadline_s:g} s: it is left behind; "
            "a larger RGALIGN_EMBED_DEADLINE_S gives a slow model more time"
        )

    def _may_go_last(self) -> bool:
        is_free = self._late is None or self._late.done()
        return is_free and self._took_s < self._going_last_s / 2 and time.monotonic() >= self._share_until_s

    async def _run(
        self, executor: Executor, within_s: float, work: Callable[..., Answer], *arguments: object
    ) -> asyncio.Future[Answer]:
        """The call, done or not after `within_s` of this process's own time; one that is not goes on unheard."""
        began_s = time.monotonic()
        future = asyncio.get_running_loop().run_in_executor(executor, work, *arguments)
        for _ in range(TURNS):
            if (await asyncio.wait([future], timeout=within_s / TURNS))[0]:
                break
        if not future.done():
            future.add_done_callback(_unheard)
        elif executor is self._executor:
            self._took_s = time.monotonic() - began_s
        return future

    def begin(self, work: Callable[..., Answer], *arguments: object) -> asyncio.Future[Answer]:
        """Starts a call without a deadline: to load a model."""
        return asyncio.get_running_loop().run_in_executor(self._executor, work, *arguments)

    def _leave(self) -> None:
        self._left_behind += 1
        self._executor.shutdown(wait=False, cancel_futures=True)
        if self._left_behind >= MOST_STUCK:
            raise ReasonerStuck(
                f"{self._left_behind} calls of the model in a row did not end within {self.deadline_s:g} s: "
                "the embedder exits to be started again; see whether its device answers"
            )
        log.warning("reasoner_left_behind", deadline_s=self.deadline_s, in_a_row=self._left_behind)
        self._executor = _thread()

    def close(self) -> None:
        """Takes no more calls; one that runs goes on unheard."""
        for executor in filter(None, (self._executor, self._last)):
            executor.shutdown(wait=False, cancel_futures=True)


def _thread() -> Executor:
    return ThreadPoolExecutor(1, thread_name_prefix="reason")


def _go_last() -> None:
    """Any other thread of the session that wakes up takes the core at once (Linux's SCHED_IDLE)."""
    os.sched_setscheduler(0, os.SCHED_IDLE, os.sched_param(0))


def _unheard(future: asyncio.Future[Any]) -> None:
    if not future.cancelled() and (error := future.exception()) is not None:
        log.warning("left_behind_call_failed", error=str(error)[:300])
