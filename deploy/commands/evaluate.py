"""`rgalign evaluate`: a bundle against another, and reports of how good the parts are."""

from __future__ import annotations

from typing import Annotated

import typer

from deploy.commands.evaluate_log import log
from deploy.commands.evaluate_reasoner import reasoner
from deploy.commands.evaluate_table import table
from deploy.commands.learning import Since, moment

app = typer.Typer(no_args_is_help=True)
app.command()(reasoner)
app.command()(log)
app.command()(table)


@app.command()
def bundle(
    version: Annotated[str, typer.Argument(help="The challenger, a version of `rgalign release list`.")],
    against: Annotated[str | None, typer.Option(help="The champion; the serving bundle when left out.")] = None,
    since: Since = None,
) -> None:
    """Judge one bundle against another on logged decisions; nothing is published.

    Example: `rgalign evaluate bundle v0002-1a2b3c4d --against v0001-5e6f7a8b`
    """
    from deploy.recalibrate import evaluate_bundles
    from deploy.screen import console
    from features.settings import Connections

    console().print(evaluate_bundles(Connections(), version, against, moment(since)))
