"""The work of a replay, one partition of one topic at a time: read it, file it, fold it. Alone, or by a crew.

A crew is processes that are spawned (never forked), each with its own connection to Kafka. Who does which part, and
when, cannot be seen in the files: no two parts share one.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from multiprocessing import connection, get_context
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

from features.settings import Connections
from training.log_files import ReplayError, Source, records
from training.log_source import LogSource, opened
from training.part_files import PartFiles
from training.rebuild import Folded, Logged, rebuild
from training.user_rows import write_user_rows

RECORDS_A_WORKER = 25_000
"""Fewer are read sooner than another process is up."""
FOLD_STEP = 2_000

Moved = Callable[[str, int], None]
"""moved(what, records): so many more are read or folded."""
READ, FOLD = "read the log", "fold the events"


@dataclass(frozen=True, slots=True)
class Job:
    """What all parts of a replay share."""

    connections: Connections
    folder: Path
    deadline_s: float
    is_folding: bool


@dataclass(frozen=True, slots=True)
class Part:
    """A span of one partition."""

    source: Source
    partition: int
    span: tuple[int, int]

    @property
    def size(self) -> int:
        """How many offsets it spans."""
        return self.span[1] - self.span[0]


@dataclass(frozen=True, slots=True)
class Done:
    """A part that is on disk."""

    part: Part
    records: int
    faulty: int
    folded: Folded | None


def default_workers(parts: Sequence[Part]) -> int:
    """As many processes as this machine has cores for, one for each part and for every 25,000 records at most."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(1, min(cores, len(parts), sum(part.size for part in parts) // RECORDS_A_WORKER))


def do_all(job: Job, parts: Sequence[Part], workers: int, moved: Moved) -> list[Done]:
    """Every part done, in any order; the largest are begun first. Raises `ReplayError`."""
    waiting = sorted(parts, key=lambda part: (-part.size, part.source, part.partition))
    if workers > 1 and len(waiting) > 1:
        return _Crew(job, waiting, min(workers, len(waiting)), moved).work()
    with opened(job.connections, job.deadline_s) as source:
        return [do(job, source, part, moved) for part in waiting]


def do(job: Job, source: LogSource, part: Part, moved: Moved) -> Done:
    """Reads and files one part, and folds it when it holds events and the job asks for it."""
    try:
        with PartFiles(job.folder, part.source, part.partition) as files:
            for record in source.records(part.source, part.partition, part.span, lambda count: moved(READ, count)):
                files.add(record)
        folded = _fold(job.folder, part, moved) if job.is_folding and part.source == "events" else None
    except OSError as error:
        if error.errno is None:
            raise
        raise ReplayError(f"{job.folder}: {error}: free some space there, or choose another folder") from error
    return Done(part, files.records, files.faulty, folded)


def _fold(folder: Path, part: Part, moved: Moved) -> Folded:
    found = rebuild(_Filed(folder, part, moved))
    write_user_rows(folder, part.partition, found)
    return Folded.of(found)


class _Filed:
    """The events of a partition as the files hold them; each iteration reads them anew."""

    def __init__(self, folder: Path, part: Part, moved: Moved) -> None:
        self._folder = folder
        self._part = part
        self._moved = moved

    def __iter__(self) -> Any:
        count = 0
        for count, found in enumerate(records(self._folder, self._part.source, self._part.partition), 1):
            yield Logged(*found)
            if count % FOLD_STEP == 0:
                self._moved(FOLD, FOLD_STEP)
        self._moved(FOLD, self._part.size - count + count % FOLD_STEP)


@dataclass(frozen=True, slots=True)
class _Failed:
    text: str


class _Crew:
    """Processes that ask for one part after the other, until none is left."""

    def __init__(self, job: Job, waiting: Sequence[Part], workers: int, moved: Moved) -> None:
        self._job = job
        self._waiting = list(reversed(waiting))
        self._workers = workers
        self._moved = moved
        self._members: dict[Any, BaseProcess] = {}

    def work(self) -> list[Done]:
        """All parts done. Raises `ReplayError` when a member fails or dies; no member outlives the call."""
        done: list[Done] = []
        try:
            for _ in range(self._workers):
                self._hire()
            busy = set(self._members)
            while busy:
                for pipe in connection.wait(list(busy)):
                    told = self._heard(pipe)
                    if isinstance(told, Done):
                        done.append(told)
                        if not self._give(pipe):
                            busy.discard(pipe)
            return done
        except BaseException:
            for process in self._members.values():
                process.terminate()
            raise
        finally:
            for pipe, process in self._members.items():
                pipe.close()
                process.join()

    def _hire(self) -> None:
        context = get_context("spawn")
        mine, theirs = context.Pipe()
        process = context.Process(target=_member, args=(self._job, theirs), daemon=True, name="replay")
        process.start()
        theirs.close()
        self._members[mine] = process
        self._give(mine)

    def _give(self, pipe: Any) -> bool:
        part = self._waiting.pop() if self._waiting else None
        pipe.send(part)
        return part is not None

    def _heard(self, pipe: Any) -> Any:
        try:
            told = pipe.recv()
        except (EOFError, ConnectionError) as error:
            self._members[pipe].join(5)
            raise ReplayError(
                f"a replay process ended with exit code {self._members[pipe].exitcode} before its part was done "
                "(-9: the machine ran out of memory); replay again with fewer --workers"
            ) from error
        match told:
            case _Failed():
                raise ReplayError(told.text)
            case str(what), int(count):
                self._moved(what, count)
        return told


def _member(job: Job, pipe: Any) -> None:
    """What a process of the crew does; it ends with its last part, or when nobody listens any more."""
    try:
        with opened(job.connections, job.deadline_s) as source:
            while (part := pipe.recv()) is not None:
                pipe.send(do(job, source, part, lambda what, count: pipe.send((what, count))))
    except ReplayError as error:
        with suppress(ConnectionError):
            pipe.send(_Failed(str(error)))
    except (EOFError, ConnectionError, KeyboardInterrupt):
        return
