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
    for result in _in_order(done):
        console.print(f"[dim]{_seen(result)}[/dim]", soft_wrap=True)
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
        return "[green]turns red[/green]" if _is_caught(result) else "[red]UNNOTICED[/red]"
    return "[green]passed[/green]" if result.passed else "[red]FAILED[/red]"


def _line(result: Result) -> str:
    what = "; ".join([*result.failed_checks, *([result.error] if result.error else [])])
    return f"    {_verdict(result)} in {result.took_s:.0f} s{' - ' + what if what else ''}"


COUNTED = ("in_log", "applied", "late", "duplicate", "dead_lettered", "replayed", "fenced")


def _table(results: list[Result]) -> Table:
    shown = Table(title="fault experiments", title_justify="left", pad_edge=False, box=None)
    shown.add_column("row", justify="right")
    shown.add_column("fault")
    for column in ("seed", "verdict", "lost", "twice", "log", "late", "dup", "dlq", "fenced", "s"):
        shown.add_column(column, justify="right")
    for result in _in_order(results):
        facts = [str(result.facts.get(name, 0)) for name in ("in_log", "late", "duplicate", "dead_lettered", "fenced")]
        counts = [str(result.lost), str(result.double_applied), *facts, f"{result.took_s:.0f}"]
        shown.add_row(str(result.row), _fault(result), str(result.seed), _verdict(result), *counts)
    return shown


def _in_order(results: list[Result]) -> list[Result]:
    return sorted(results, key=lambda result: (result.row, result.mutant or "", result.seed))


def _fault(result: Result) -> str:
    return f"  {result.mutant}" if result.mutant else ROWS[result.row].fault


def _seen(result: Result) -> str:
    """What a row saw beside its counts: times with their theory, restarts, figures of its own."""
    facts = {name: fact for name, fact in result.facts.items() if name not in COUNTED and fact not in {"", 0}}
    return f"{result.row:>3} " + ", ".join(f"{name} {fact}" for name, fact in facts.items())


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
