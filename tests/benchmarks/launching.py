"""Arms in processes of their own, forked from a server that has imported everything, one after the other."""

from __future__ import annotations

import asyncio
import multiprocessing
import os
import signal
import traceback
from collections.abc import Callable, Coroutine, Sequence
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from pathlib import Path
from typing import Any, TypeVar

from features.settings import Connections
from tests.benchmarks.meter import Block, Meter
from tests.benchmarks.services import Services

Answer = TypeVar("Answer")

DEADLINE_S = 90.0
LOG = Path(".out/bench-stream.log")
"""What the arms print."""
_CONTEXT = multiprocessing.get_context("forkserver")
_CONTEXT.set_forkserver_preload(["stream.app", "export.session", "tests.benchmarks.arms"])


@dataclass(frozen=True, slots=True)
class Task:
    """What one process does: `warm` records unmeasured, then `events` measured.

    `prefix` names the topics, `store` the Valkey database that holds this arm's state, `group` is new for each task.
    """

    arm: str
    services: Services
    prefix: str
    store: int
    group: str
    warm: int
    events: int
    is_all: bool = False
    """Whether warm + events is all that the log holds: the warm-up may then have taken everything."""

    def left(self, taken: int) -> int:
        """How many records to measure after a warm-up that took `taken`; a fetch is taken whole."""
        return self.warm + self.events - taken if self.is_all else self.events

    @property
    def connections(self) -> Connections:
        """Where this arm reads and keeps its state."""
        return self.services.connections(self.prefix, self.store)

    def meter(self) -> Meter:
        """Measures this task."""
        return Meter(self.arm, self.services.redis_url, self.services.kafka_pid)


class ArmFailed(RuntimeError):
    """An arm ended with an error, or not within `DEADLINE_S`."""


Arm = Callable[[Task, Callable[[], None]], Block]
"""arm(task, at_start) -> block; calls at_start() when it is ready, and works on when that returns."""


def measure(arm: Arm, *tasks: Task) -> list[Block]:
    """Runs the tasks at the same time, begun together when all are ready; their blocks. Raises `ArmFailed`."""
    pipes, processes = [], []
    for task in tasks:
        ours, theirs = _CONTEXT.Pipe()
        process = _CONTEXT.Process(target=_child, args=(arm, task, theirs), daemon=True)
        process.start()
        theirs.close()
        pipes.append(ours)
        processes.append(process)
    try:
        _gathered(pipes, tasks)
        for pipe in pipes:
            pipe.send("go")
        return _gathered(pipes, tasks)
    finally:
        for process in processes:
            process.kill()
            process.join()


def _gathered(pipes: Sequence[Connection], tasks: Sequence[Task]) -> list[Any]:
    told = []
    for pipe, task in zip(pipes, tasks, strict=True):
        if not wait([pipe], DEADLINE_S):
            raise ArmFailed(f"{task.arm} said nothing for {DEADLINE_S:.0f} s")
        try:
            answer = pipe.recv()
        except EOFError:
            raise ArmFailed(f"{task.arm} died") from None
        if isinstance(answer, str) and answer.startswith("error"):
            raise ArmFailed(f"{task.arm}: {answer}")
        told.append(answer)
    return told


def _child(arm: Arm, task: Task, pipe: Connection) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    LOG.parent.mkdir(exist_ok=True)
    with LOG.open("ab", buffering=0) as log:
        os.dup2(log.fileno(), 1)
        os.dup2(log.fileno(), 2)

    def at_start() -> None:
        pipe.send("ready")
        pipe.recv()

    try:
        pipe.send(arm(task, at_start))
    except BaseException:  # noqa: BLE001 - told to the one who waits
        pipe.send(f"error\n{traceback.format_exc()}")
    finally:
        pipe.close()
        os._exit(0)


def run_until(work: Coroutine[Any, Any, Answer]) -> Answer:
    """Runs a coroutine and leaves its loop as it is: the process ends hard, and Faust's farewell may take for ever."""
    return asyncio.new_event_loop().run_until_complete(work)
