"""Running rows under seeds: each result is saved as it is found, so that a stopped run goes on where it was.

A saved result holds for the code that it was found with, and is found anew when any of it changed.
"""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from functools import cache
from pathlib import Path
from typing import Any

from tests.faults.arena import FULL, MUTANT, Arena, Finding, Pace
from tests.faults.crew import ROOT
from tests.faults.rows import MUTANTS, ROWS

FOLDER = Path(".out/faults")
CODE = ("features", "training", "export", "stream", "deploy", "tests/faults")


@dataclass(frozen=True, slots=True)
class Task:
    """One row under one seed, with or without a mutant; `name` is its file's."""

    row: int
    seed: int
    mutant: str | None = None

    @property
    def name(self) -> str:
        """For people and files."""
        return f"{self.row}-{self.seed}" + (f"-{self.mutant}" if self.mutant else "")


@dataclass(frozen=True, slots=True)
class Result:
    """What became of a task; `error` is empty unless the trial itself broke."""

    row: int
    seed: int
    mutant: str | None
    passed: bool
    failed_checks: Sequence[str]
    facts: dict[str, Any]
    lost: int
    double_applied: int
    took_s: float
    error: str = ""


def tasks(rows: Sequence[int], seeds: int) -> list[Task]:
    """All tasks, those on one broker first; each mutant once."""
    wanted = [Task(row, seed) for seed in range(1, seeds + 1) for row in rows]
    wanted += [Task(row, 1, mutant) for row, mutant in MUTANTS.items() if row in rows]
    return sorted(wanted, key=lambda task: ROWS[task.row].brokers)


def saved(task: Task, folder: Path = FOLDER) -> Result | None:
    """The result of an earlier run of the same code, if it is there."""
    path = folder / f"{task.name}.json"
    if not path.exists():
        return None
    told = json.loads(path.read_text())
    return Result(**told) if told.pop("code") == code() else None


@cache
def code() -> str:
    """12 hex digits of all that a result depends on."""
    told = hashlib.sha256()
    for path in sorted(path for folder in CODE for path in (ROOT / folder).rglob("*.py")):
        told.update(path.read_bytes())
    return told.hexdigest()[:12]


def save(task: Task, result: Result, folder: Path = FOLDER) -> None:
    """Writes a result, whole or not at all."""
    folder.mkdir(parents=True, exist_ok=True)
    partial = folder / f".{task.name}.part"
    partial.write_text(json.dumps({"code": code(), **asdict(result)}, indent=1) + "\n")
    partial.replace(folder / f"{task.name}.json")


def run(task: Task, arena: Arena, pace: Pace) -> Result:
    """Runs one task. A trial that breaks is a failure with its error, not the end of the run."""
    began_s = time.monotonic()
    spoil = json.dumps({"mutant": task.mutant}) if task.mutant else None
    error = ""
    finding = Finding({"it ran to its end": False})
    try:
        with arena.trial(task.name, task.seed, pace, spoil) as trial:
            finding = ROWS[task.row].run(trial)
    except Exception as fault:  # noqa: BLE001 - told in the table
        error = f"{type(fault).__name__}: {fault}"[:500]
    return Result(
        task.row, task.seed, task.mutant, finding.passed, [name for name, held in finding.checks.items() if not held],
        finding.facts, finding.lost, finding.double_applied, round(time.monotonic() - began_s, 1), error,
    )  # fmt: skip


def run_all(
    wanted: Sequence[Task], begins: Callable[[Task], None], pace: Pace = FULL, folder: Path = FOLDER
) -> Iterator[tuple[Task, Result]]:
    """All results, the saved ones at once; services are started when a row first needs them."""
    left = []
    for task in wanted:
        if (known := saved(task, folder)) is not None:
            yield task, known
        else:
            left.append(task)
    for brokers in sorted({ROWS[task.row].brokers for task in left}):
        with Arena(folder / "logs", brokers) as arena:
            for task in (task for task in left if ROWS[task.row].brokers == brokers):
                begins(task)
                result = run(task, arena, MUTANT if task.mutant else pace)
                save(task, result, folder)
                yield task, result
                _mend(arena)


def _mend(arena: Arena) -> None:
    """Starts again what a broken trial left down, and gives the store its memory back."""
    for name in arena.missing():
        arena.services.revive(name)
    with arena.redis as redis:
        redis.config_set("maxmemory", 0)
