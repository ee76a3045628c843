"""`rgalign dev`: everything on this machine, in the background."""

from __future__ import annotations

from typing import Annotated

import typer

app = typer.Typer(no_args_is_help=True)


@app.command()
def up(
    port: Annotated[int, typer.Option(help="Port of the gateway; 0: any free one.")] = 8080,
) -> None:
    """Start Kafka, Valkey, gateway, worker and embedder; return when they are ready.

    Example: `rgalign dev up` and then `eval "$(rgalign dev status --env)"`
    """
    from deploy.background import up as start

    raise typer.Exit(start(port))


@app.command()
def down() -> None:
    """Stop what `dev up` started.

    Example: `rgalign dev down`
    """
    from deploy.background import down as stop

    raise typer.Exit(stop())


@app.command()
def status(*, env: Annotated[bool, typer.Option("--env", help="Print as shell exports.")] = False) -> None:
    """What runs, where, and whether it is ready.

    Example: `rgalign dev status`
    """
    from deploy.background import status as show

    raise typer.Exit(show(as_exports=env))
