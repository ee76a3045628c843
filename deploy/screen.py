"""What the command line shows: errors as one line, checks as a table, progress bars with sizes."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.console import Console

    from deploy.doctor import Check

EXPECTED: tuple[type[Exception], ...] = (ConnectionError, FileNotFoundError, TimeoutError, ValueError, RuntimeError)
"""Faults of the surroundings: shown as one line. Anything else is a bug and keeps its traceback."""

Advance = Callable[[str, int, int], None]
"""progress(what, done, total)"""


def console() -> Console:
    """The terminal on stdout."""
    from rich.console import Console

    return Console(highlight=False)


def explain(error: Exception) -> str:
    """The line for an expected error.

    >>> explain(ValueError("found 3 partitions, expected 4"))
    'rgalign: found 3 partitions, expected 4'
    """
    from pydantic import ValidationError

    if isinstance(error, ValidationError):  # its own text shows types and addresses of pages
        faults = [(".".join(map(str, fault["loc"])), fault["msg"]) for fault in error.errors(include_input=False)]
        return "rgalign: " + "; ".join(f"{at}: {why}" if at else why for at, why in faults).replace("Value error, ", "")
    return f"rgalign: {error}"


def pace(done: int, total: int, elapsed_s: float, now: datetime) -> str:
    """How fast work goes, and when it will end at this rate (by the clock of `now`).

    >>> pace(20_000, 50_000, 2.0, datetime(2026, 11, 24, 8, 0, 0, tzinfo=UTC))
    '10,000/s, ends 08:00:03'
    >>> pace(3, 3, 90.0, datetime(2026, 11, 24, 8, 0, 0, tzinfo=UTC))
    '0.033/s, took 0:01:30'
    """
    if not done or elapsed_s <= 0:
        return ""
    rate = done / elapsed_s
    shown = f"{rate:,.0f}/s" if rate >= 10 else f"{rate:.2g}/s"
    if done >= total:
        return f"{shown}, took {timedelta(seconds=round(elapsed_s))}"
    return f"{shown}, ends {now + timedelta(seconds=(total - done) / rate):%H:%M:%S}"


@contextmanager
def progress(to: Console) -> Iterator[Advance]:
    """Bars that appear as work reports itself: `advance(what, done, total)`; with the rate, and when it will end."""
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn

    bars = Progress(
        TextColumn("  {task.description:<34}"),
        BarColumn(24),
        MofNCompleteColumn(),
        TextColumn("{task.fields[pace]}"),
        console=to,
    )
    tasks: dict[str, TaskID] = {}
    with bars:

        def advance(what: str, done: int, total: int) -> None:
            if what not in tasks:
                tasks[what] = bars.add_task(what, total=total, pace="")
            bars.update(tasks[what], completed=done, total=total)
            task = bars.tasks[tasks[what]]
            bars.update(task.id, pace=pace(done, total, task.elapsed or 0.0, datetime.now(UTC).astimezone()))

        yield advance


def show_checks(found: Sequence[Check]) -> int:
    """Prints the doctor's findings; returns the exit code (1 when something that is needed is missing)."""
    from rich.table import Table

    shown = Table(show_header=False, box=None, pad_edge=False)
    for check in found:
        mark = "[green]ok[/green]" if check.ok else "[red]missing[/red]"
        shown.add_row(mark, check.name, check.found, "" if check.ok else f"[yellow]{check.advice}[/yellow]")
    console().print(shown)
    return 0 if all(check.ok for check in found) else 1
