"""The fits of a plan, over a few processes, each kept as soon as it is done: a stopped run goes on where it was."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, ProcessPoolExecutor, wait
from dataclasses import dataclass
from itertools import islice
from multiprocessing import get_context
from pathlib import Path
from typing import TypeVar

from training.contest import material
from training.contest.arms import BY_KEY
from training.contest.cell import CellName
from training.contest.fits import Task, fitted
from training.trainer import Progress

Call = TypeVar("Call")


@dataclass(frozen=True, slots=True)
class Rooms:
    """Where cells and fits are kept, and the cache of models and vectors."""

    cache: Path
    out: Path

    @property
    def cells(self) -> Path:
        """The folder of the cells."""
        return self.out / "cells"

    @property
    def fits(self) -> Path:
        """The folder of the fits."""
        return self.out / "fits"


def run(
    tasks: Iterable[Task],
    rooms: Rooms,
    *,
    jobs: int = 2,
    minutes: float | None = None,
    progress: Progress | None = None,
) -> int:
    """Does what is not done yet of the tasks and returns how many are left when `minutes` are over.

    The prompts are embedded and the worlds lived through in all processes: neither needs the other.
    """
    material.fetch(rooms.cache, progress)
    told = tuple(dict.fromkeys(tasks))
    waiting = [task for task in told if not (rooms.fits / task.file_name).exists()]
    deadline = None if minutes is None else time.monotonic() + 60 * minutes
    missing = dict.fromkeys(task.cell for task in waiting)
    parts: list[CellName | tuple[int, int]] = [(part, jobs) for part in range(jobs)]
    preparing = [(what, rooms) for what in [*parts, *missing]]
    for done in _in_processes(preparing, _prepare, jobs, deadline):
        _tell(progress, "embed the prompts, live through the worlds", done, len(preparing))
    fits = 0
    for fits in _in_processes([(task, rooms) for task in waiting], _fit, jobs, deadline):
        _tell(progress, "fit and rank", len(told) - len(waiting) + fits, len(told))
    return len(waiting) - fits


def _tell(progress: Progress | None, what: str, done: int, total: int) -> None:
    if progress is not None:
        progress(what, done, total)


def _in_processes(
    calls: Sequence[Call], work: Callable[[Call], None], jobs: int, deadline: float | None
) -> Iterator[int]:
    """Yields the number of calls done after each one; none begins after the deadline."""
    waiting, done = iter(calls), 0
    if jobs == 1:
        for call in waiting:
            if deadline is not None and time.monotonic() > deadline:
                return
            work(call)
            done += 1
            yield done
        return
    with ProcessPoolExecutor(jobs, mp_context=get_context("spawn")) as pool:
        running = {pool.submit(work, call) for call in islice(waiting, jobs)}
        while running:
            finished, running = wait(running, return_when=FIRST_COMPLETED)
            for future in finished:
                future.result()
                done += 1
                yield done
                if deadline is None or time.monotonic() < deadline:
                    running |= {pool.submit(work, call) for call in islice(waiting, 1)}


def _prepare(call: tuple[CellName | tuple[int, int], Rooms]) -> None:
    """Lives through a cell, or embeds a part of the prompts."""
    what, rooms = call
    if isinstance(what, CellName):
        material.lived(what, rooms.cells)
    else:
        material.embed(rooms.cache, part=what)


def _fit(call: tuple[Task, Rooms]) -> None:
    task, rooms = call
    fitted(
        task,
        material.lived(task.cell, rooms.cells),
        material.encoded(rooms.cache, BY_KEY[task.arm].pooling),
        rooms.fits,
    )
