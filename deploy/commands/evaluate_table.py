"""`rgalign evaluate table`: QE-Rec against its baselines in the declared world."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def table(
    out: Annotated[Path, typer.Option(help="Where science.md, .svg and .json go, and what is kept.")] = Path(".out"),
    jobs: Annotated[int, typer.Option(help="Processes that fit at the same time.", min=1, max=64)] = 2,
    minutes: Annotated[
        float | None, typer.Option(help="Begin no fit after so many minutes; run again and it goes on.", min=0)
    ] = None,
    *,
    full: Annotated[bool, typer.Option("--full", help="Five tuning worlds, ten visits each: hours.")] = False,
    tune: Annotated[
        bool, typer.Option("--tune", help="First give every arm its trials anew and commit the best settings.")
    ] = False,
) -> None:
    """Compare QE-Rec with every baseline in the simulated world: table, picture and keys.

    Every fit is kept as soon as it is done, so a stopped run goes on where it was.

    Example: `rgalign evaluate table --minutes 8`
    """
    from deploy import science
    from deploy.screen import console, progress
    from features.settings import Connections

    screen, cache = console(), Connections().cache
    with progress(screen) as advance:
        if tune:
            science.tune(cache, out, advance)
        plan = science.FULL if full else science.SHORT
        told = science.compare(plan, cache, out, jobs=jobs, minutes=minutes, progress=advance)
    screen.print(told.report, soft_wrap=True, markup=False)
    for path in told.files:
        screen.print(f"- written: {path}")
    if told.left:
        screen.print(f"- {told.left} fits are left: run the same command again, it goes on where it was")
