"""`python -m tests.faults`: the fault experiments with recorded seeds, resumable, as a table and `.out/faults.json`."""

from __future__ import annotations

import shutil
import signal
import sys
import time
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from deploy import figures
from tests.faults.rows import MUTANTS, ROWS
from tests.faults.runs import FOLDER, Result, Task, run_all, tasks

SHOWN_FIRST = ("in_log", "applied", "late", "duplicate", "dead_lettered", "fenced", "replayed")


def main(
    *,
    rows: Annotated[str, typer.Option(envvar="ROWS", help="e.g. 1,3,13; all by default")] = "",
    seeds: Annotated[int, typer.Option(envvar="SEEDS", help="how many seeds each row is run under")] = 1,
    again: Annotated[bool, typer.Option("--again", help="forget saved results")] = False,
    only_list: Annotated[bool, typer.Option("--list", help="show the rows and end")] = False,
) -> None:
    """Runs the rows that are not saved yet; ends with 1 when one failed or a mutant went unnoticed."""
    console = Console()
    if only_list:
        for row in ROWS.values():
            mutant = f" (and under the mutant {MUTANTS[row.number]})" if row.number in MUTANTS else ""
            console.print(f"{row.number:>3}  {row.fault}{mutant}")
        return
    wanted = tasks([int(row) for row in rows.split(",")] if rows else list(ROWS), seeds)
    if again:
        shutil.rmtree(FOLDER, ignore_errors=True)
    done: list[Result] = []
    began_s = time.monotonic()

    def begins(task: Task) -> None:
        console.print(f"[dim]{len(done) + 1}/{len(wanted)} row {task.name}: {ROWS[task.row].fault} ...[/dim]")

    for _, result in run_all(wanted, begins):
        done.append(result)
        console.print(_line(result))
    console.print(_table(done))
    console.print(f"[dim]{time.monotonic() - began_s:.0f} s; one file a row and seed in {FOLDER}[/dim]")
    told = _figures(done, seeds)
    figures.report("faults", "make faults", told, console)
    mutants = sum(task.mutant is not None for task in wanted)
    sys.exit(0 if told["rows_failed"] == 0 and told["mutants_red"] == mutants else 1)


def _is_caught(result: Result) -> bool:
    """Whether a mutant turned its row red by what it did, and not by a trial that broke."""
    return result.mutant is not None and not result.passed and not result.error


def _verdict(result: Result) -> str:
    if result.mutant:
        return "[green]red, as it must be[/green]" if _is_caught(result) else "[red]NOT NOTICED[/red]"
    return "[green]passed[/green]" if result.passed else "[red]FAILED[/red]"


def _line(result: Result) -> str:
    what = "; ".join([*result.failed_checks, *([result.error] if result.error else [])])
    return f"    {_verdict(result)} in {result.took_s:.0f} s{' - ' + what if what else ''}"


def _table(results: list[Result]) -> Table:
    shown = Table(title="fault experiments", title_justify="left", pad_edge=False)
    for column in ("row", "fault", "seed", "verdict", "lost", "twice", "s", "what happened"):
        shown.add_column(column, justify="right" if column in {"row", "lost", "twice", "s", "seed"} else "left")
    for result in sorted(results, key=lambda result: (result.row, result.mutant or "", result.seed)):
        fault = ROWS[result.row].fault + (f", {result.mutant}" if result.mutant else "")
        counts = str(result.lost), str(result.double_applied), f"{result.took_s:.0f}"
        shown.add_row(str(result.row), fault, str(result.seed), _verdict(result), *counts, _happened(result))
    return shown


def _happened(result: Result) -> str:
    first = [name for name in SHOWN_FIRST if name in result.facts]
    names = [*first, *(name for name in result.facts if name not in first)]
    return ", ".join(f"{name} {result.facts[name]}" for name in names if result.facts[name] not in ("", 0))


def _figures(results: list[Result], seeds: int) -> dict[str, figures.Figure]:
    rows = [result for result in results if result.mutant is None]
    return {
        "rows_run": len({result.row for result in rows}),
        "rows_failed": len({result.row for result in rows if not result.passed}),
        "lost": sum(result.lost for result in rows),
        "double_applied": sum(result.double_applied for result in rows),
        "mutants_red": sum(map(_is_caught, results)),
        "seeds": seeds,
        "took_s": round(sum(result.took_s for result in results), 1),
    }


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    typer.run(main)
