"""The comparison at work: cells, fits, figures and the files that tell them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import orjson

from deploy.screen import Advance
from training.contest import material, tuning
from training.contest.answers import answers
from training.contest.arms import TUNED
from training.contest.figures import LastRound, Results
from training.contest.fits import Task, kept
from training.contest.picture import picture
from training.contest.plan import FULL, SHORT, Plan
from training.contest.run import Rooms, run
from training.contest.table import Report, markdown

__all__ = ["FULL", "SHORT", "Told", "compare", "tune"]


@dataclass(frozen=True, slots=True)
class Told:
    """What was written, the report itself, and how many fits are left."""

    report: str
    files: tuple[Path, ...]
    left: int


def compare(
    plan: Plan, cache: Path, out: Path, *, jobs: int, minutes: float | None = None, progress: Advance = lambda *_: None
) -> Told:
    """Runs what is missing of the plan, and writes table, picture and keys of what is there."""
    rooms, tasks = Rooms(cache, out / "science"), tuple(dict.fromkeys(plan.tasks()))
    left = run(tasks, rooms, jobs=jobs, minutes=minutes, progress=progress)
    results = _results(tasks, rooms)
    report = Report(results, plan, answers(results, plan), left)
    files = {
        out / "science.md": markdown(report).encode(),
        out / "science.svg": picture(report).encode(),
        out / "science.json": orjson.dumps({**report.answers, "left": left}, option=orjson.OPT_INDENT_2),
    }
    for path, told in files.items():
        path.write_bytes(told)
    return Told(markdown(report), tuple(files), left)


def _results(tasks: Sequence[Task], rooms: Rooms) -> Results:
    done = [task for task in tasks if (rooms.fits / task.file_name).exists()]
    tests, fits = {}, {}
    for name in dict.fromkeys(task.cell for task in done):
        cell = material.lived(name, rooms.cells)
        tests[name] = LastRound.of(cell)
        mine = [task for task in done if task.cell == name]
        fits.update({task: kept(task, rooms.fits) for task in mine})
    return Results(fits, tests)


def tune(cache: Path, out: Path, progress: Advance = lambda *_: None) -> Path:
    """Gives every arm its trials and commits the best settings; a stopped run goes on."""
    material.embed(cache, progress)
    rooms = Rooms(cache, out / "science")
    cell = material.lived(tuning.CELL, rooms.cells)
    tuning.commit(tuning.tune(cell, material.encoded(cache), rooms.out / "trials.yaml", progress))
    return TUNED
