"""`rgalign release`: which model serves, and going back."""

from __future__ import annotations

from typing import Annotated

import typer

app = typer.Typer(no_args_is_help=True)


@app.command(name="list")
def list_bundles() -> None:
    """Every bundle in the registry; the serving one is marked.

    Example: `rgalign release list`
    """
    from deploy.publishing import releases_table
    from deploy.screen import console
    from features.settings import Connections

    console().print(releases_table(Connections()))


@app.command()
def serve(version: Annotated[str, typer.Argument(help="A version of `rgalign release list`.")]) -> None:
    """Serve this bundle: stage it, wait for its latent queries, then swap.

    Example: `rgalign release serve v0002-1a2b3c4d`
    """
    from deploy.publishing import release
    from deploy.screen import console
    from features.settings import Connections

    console().print(release(Connections(), version, note="served by hand").describe())


@app.command()
def rollback() -> None:
    """Serve the bundle before the serving one again.

    Example: `rgalign release rollback`
    """
    from deploy.publishing import rollback as back
    from deploy.screen import console
    from features.settings import Connections

    console().print(back(Connections()).describe())
