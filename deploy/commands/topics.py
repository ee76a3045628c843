"""`rgalign topics`: create, list, lag, dead letters and the generated contracts."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

app = typer.Typer(no_args_is_help=True)


@app.command()
def create(
    partitions: Annotated[int, typer.Option(help="Partitions of the keyed topics; fixed for good.", min=1)] = 4,
    replication: Annotated[int, typer.Option(help="Copies of each partition.", min=1)] = 1,
) -> None:
    """Create the topics that are missing.

    Example: `rgalign topics create --partitions 16 --replication 3`
    """
    from deploy.screen import console
    from features.settings import Connections
    from stream import topics

    created = topics.create(Connections(), partitions, replication)
    console().print(f"created {', '.join(created)}" if created else "all topics are there")


@app.command(name="list")
def list_topics() -> None:
    """What each topic is for, its partitions and its end offsets.

    Example: `rgalign topics list`
    """
    from deploy.screen import console
    from deploy.topic_report import listing
    from features.settings import Connections

    console().print(listing(Connections()))


@app.command()
def lag(
    *, as_json: Annotated[bool, typer.Option("--json", help="One JSON object instead of a table.")] = False
) -> None:
    """How far each consumer group is behind: by Kafka's committed offset, and by the ledger, which is the truth.

    `behind` counts the records that have not had their effect, `for` is the age of the first of them.

    Example: `rgalign topics lag --json`
    """
    from deploy import lag_report
    from deploy.screen import console
    from features.settings import Connections

    report = lag_report.lag(Connections())
    if as_json:
        typer.echo(json.dumps(report.told(), indent=2))
    else:
        console().print(lag_report.table(report))


@app.command()
def dlq(
    redrive: Annotated[
        str | None, typer.Option(help="Send this dead letter (topic[partition]@offset) to its topic again.")
    ] = None,
    fixed: Annotated[Path | None, typer.Option(help="With --redrive: the mended record, as a file.")] = None,
    limit: Annotated[int, typer.Option(help="How many of the newest to show.", min=1, max=10_000)] = 20,
) -> None:
    """Show why records were set aside; re-drive one after a fix.

    Example: `rgalign topics dlq --redrive 'shop.user.events.v1[0]@17' --fixed event.json`
    """
    from deploy.dead_letters import listing
    from deploy.dead_letters import redrive as send_again
    from deploy.screen import console
    from features.settings import Connections

    if redrive:
        console().print(send_again(Connections(), redrive, fixed.read_bytes() if fixed else None))
    else:
        console().print(listing(Connections(), limit))


@app.command()
def contracts(
    *, write: Annotated[bool, typer.Option("--write", help="Regenerate the committed files.")] = False
) -> None:
    """Compare the committed JSON Schemas and AsyncAPI with the code; exit 1 when they differ.

    Example: `rgalign topics contracts --write`
    """
    from deploy.screen import console
    from stream import asyncapi

    if write:
        console().print(f"wrote {len(asyncapi.write())} files")
        return
    stale = asyncapi.stale()
    console().print(f"stale: {', '.join(stale)}; run `rgalign topics contracts --write`" if stale else "up to date")
    raise typer.Exit(1 if stale else 0)
