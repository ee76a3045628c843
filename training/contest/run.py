"""The fits of a plan, over a few processes, each kept as soon as it is done: a stopped run goes on where it was."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, ProcessPoolExecutor, wait
from dataclasses import dataclass
from itertools import islice
from multiprocessing import get_context
from pathlib import Path

from training.contest import material
from training.contest.arms import BY_KEY
from training.contest.cell import CellName
from training.contest.fits import Task, fitted
from training.trainer import Progress


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
    """Does what is not done yet of the tasks and returns how many are left when `minutes` are over."""
    material.embed(rooms.cache, progress)
    told = tuple(dict.fromkeys(tasks))
    waiting = [task for task in told if not (rooms.fits / task.file_name).exists()]
    deadline = None if minutes is None else time.monotonic() + 60 * minutes
    missing = dict.fromkeys(task.cell for task in waiting)
    cells = _in_processes([(name, rooms.cells) for name in missing], _live, jobs, deadline)
    for done, _ in enumerate(cells, start=1):
        _tell(progress, "live through the worlds", done, len(missing))
    finished = len(told) - len(waiting)
    for _ in _in_processes([(task, rooms) for task in waiting], _fit, jobs, deadline):
        finished += 1
        _tell(progress, "fit and rank", finished, len(told))
    return len(told) - finished


def _tell(progress: Progress | None, what: str, done: int, total: int) -> None:
    if progress is not None:
        progress(what, done, total)


def _in_processes(
    calls: list[tuple[object, object]], work: object, jobs: int, deadline: float | None
) -> Iterator[None]:
    """Yields after each call that is done; no call begins after the deadline."""
    if jobs == 1:
        for call in calls:
            if deadline is None or time.monotonic() < deadline:
                yield work(call)  # type: ignore[operator]
        return
    queue = iter(calls)
    with ProcessPoolExecutor(jobs, mp_context=get_context("spawn")) as pool:
        running = {pool.submit(work, call) for call in islice(queue, jobs)}  # type: ignore[arg-type]
        while running:
            done, running = wait(running, return_when=FIRST_COMPLETED)
            for future in done:
                yield future.result()
                if deadline is None or time.monotonic() < deadline:
                    running |= {pool.submit(work, call) for call in islice(queue, 1)}  # type: ignore[arg-type]


def _live(call: tuple[CellName, Path]) -> None:
    material.lived(*call)


def _fit(call: tuple[Task, Rooms]) -> None:
    task, rooms = call
    fitted(
        task,
        material.lived(task.cell, rooms.cells),
        material.encoded(rooms.cache, BY_KEY[task.arm].pooling),
        rooms.fits,
    )
