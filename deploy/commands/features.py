"""`rgalign features`: intent statistics, the history for Feast, and the check that training sees what was served."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path
from typing import Annotated

import typer

app = typer.Typer(no_args_is_help=True)

Until = Annotated[datetime | None, typer.Option(help="Only records before this time (UTC).")]
Log = Annotated[
    Path | None, typer.Option(help="A folder that `rgalign replay` wrote; the topics are replayed when left out.")
]


@app.command()
def stats(
    every: Annotated[float, typer.Option(help="Go on, with so many seconds between; 0: once.", min=0)] = 0,
) -> None:
    """Count how each intent fared and publish the snapshot: to workers by its topic, to Feast as online rows.

    Example: `rgalign features stats --every 60`
    """
    from deploy.intent_statistics import snapshots
    from deploy.screen import console
    from features.settings import Connections

    for snapshot in snapshots(Connections(), every):
        if snapshot is not None:
            console().print(f"published {snapshot.version}: {len(snapshot.intents)} intents")
        elif not every:
            console().print("no tile of the log was closed since the last snapshot: nothing to publish")


@app.command()
def history(
    out: Annotated[Path, typer.Argument(help="The offline folder: one folder a view, dt= folders below.")] = Path(
        ".out/offline"
    ),
    log: Log = None,
    until: Until = None,
) -> None:
    """Write what every logged decision was made on as Parquet, for Feast's joins as of a time.

    Example: `rgalign features history .out/offline`
    """
    from deploy.feature_checks import write_history
    from deploy.screen import console, progress
    from features.settings import Connections

    screen = console()
    with progress(screen) as advance:
        written = write_history(Connections(), out, log, until, advance)
    screen.print(written)


@app.command()
def skew(log: Log = None, until: Until = None) -> None:
    """Compute every logged feature row again from the log; exit 1 when a cell differs from what was served.

    Example: `rgalign features skew --log .out/replay`
    """
    from deploy.feature_checks import check_skew
    from deploy.screen import console, progress
    from features.settings import Connections

    screen = console()
    with progress(screen) as advance:
        found, told = check_skew(Connections(), log, until, advance)
    screen.print(told)
    raise typer.Exit(1 if found.differing else 0)
