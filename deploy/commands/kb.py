"""`rgalign kb`: the knowledge base as a product person edits it."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

app = typer.Typer(no_args_is_help=True)

KbFile = Annotated[Path | None, typer.Argument(help="A YAML file or a folder of them; our own when left out.")]


@app.command()
def check(path: KbFile = None) -> None:
    """Check a knowledge base; errors name file and line.

    Example: `rgalign kb check features/kb`
    """
    from deploy.screen import console
    from features.knowledge import load

    kb = load(path)
    locales = sorted({locale for intent in kb.intents for locale in intent.texts})
    console().print(
        f"{len(kb.intents)} intents in {len(kb.families)} families, version {kb.version}, "
        f"further locales: {', '.join(locales) or 'none'}"
    )


@app.command()
def diff(path: KbFile = None) -> None:
    """Show what publishing this knowledge base would change.

    Example: `rgalign kb diff features/kb`
    """
    from deploy.publishing import live_knowledge
    from deploy.screen import console
    from features.knowledge import diff as difference
    from features.knowledge import load
    from features.settings import Connections

    console().print(difference(live_knowledge(Connections()), load(path)).render())


@app.command()
def apply(
    path: KbFile = None,
    *,
    yes: Annotated[bool, typer.Option("--yes", help="Publish without asking.")] = False,
) -> None:
    """Show the difference to the live knowledge base and publish it; workers follow within seconds.

    Example: `rgalign kb apply features/kb --yes`
    """
    from deploy.publishing import live_knowledge, publish_knowledge
    from deploy.screen import console
    from features.knowledge import diff as difference
    from features.knowledge import load
    from features.settings import Connections

    connections, new = Connections(), load(path)
    changes = difference(live_knowledge(connections), new)
    console().print(changes.render())
    if not changes:
        return
    if not yes:
        typer.confirm("Publish?", abort=True)
    published = publish_knowledge(connections, new)
    console().print(f"published {published} changes, knowledge base {new.version}")
