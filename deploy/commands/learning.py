"""The offline jobs: simulate, replay, train and recalibrate."""

from __future__ import annotations

import time
from datetime import datetime
from pathlib import Path
from typing import Annotated

import typer

TIMES = "RFC 3339 (2026-11-23T08:00:00Z, UTC without a zone), or how long ago (90s, 15m, 2h, 1d, 1w)"
Since = Annotated[str | None, typer.Option(metavar="TIME", help=f"Only records from this time on: {TIMES}.")]


def simulate(
    gateway_url: Annotated[str, typer.Option(help="Where the gateway answers.")] = "http://127.0.0.1:8080",
    rate: Annotated[float, typer.Option(help="Shopper events a second.", min=1, max=500)] = 40.0,
    seconds: Annotated[float, typer.Option(help="How long.", min=1)] = 60.0,
    seed: Annotated[int, typer.Option(help="Seed of the shoppers.")] = 7,
) -> None:
    """Simulated shoppers send events to a gateway, and see, click, dismiss or ignore its prompts.

    Example: `rgalign simulate --seconds 30 --rate 20`
    """
    from deploy.screen import console
    from deploy.simulate import run_for

    console().print(run_for(gateway_url, rate=rate, seconds=seconds, seed=seed).describe())


def replay(
    out: Annotated[
        Path, typer.Argument(help="The folder for the Parquet files; an earlier replay there is replaced.")
    ] = Path(".out/replay"),
    since: Annotated[str | None, typer.Option(metavar="TIME", help=f"From this time on: {TIMES}.")] = None,
    until: Annotated[str | None, typer.Option(metavar="TIME", help=f"Up to this time, not included: {TIMES}.")] = None,
    offsets: Annotated[
        list[str] | None,
        typer.Option(
            metavar="SPAN",
            help="Exact offsets instead of times: the replay.json of an earlier replay, or "
            "'topic[partition]=first:end'. May be given again; what is not named is left out.",
        ),
    ] = None,
    workers: Annotated[
        int | None,
        typer.Option(help="Processes that share the partitions; as many as pay when left out.", min=1, max=256),
    ] = None,
    *,
    features: Annotated[
        bool, typer.Option("--features", help="Fold the events too: users' feature rows, ledger counts, state digest.")
    ] = False,
) -> None:
    """Replay a window of the log into Parquet: the same bytes on every run, for any number of workers.

    Events, decisions, outcomes and query requests go to OUT/SOURCE/dt=DAY/part-PARTITION.parquet, and the exact offsets
    to OUT/replay.json. OUT appears whole or not at all.

    With `--features` the events are folded as the stream worker does it. Over the whole log the counts must equal the
    ledger's, and every row in OUT/features the online row of that user.

    Example: `rgalign replay .out/replay --since 1d --features`

    Example: `rgalign replay .out/again --offsets .out/replay/replay.json`

    Example: `rgalign replay .out/some --offsets 'shop.user.events.v1[0]=100:200'`
    """
    from deploy.replaying import Asked, run
    from deploy.screen import console, progress
    from features.settings import Connections

    screen = console()
    asked = Asked(since, until, offsets or ())
    with progress(screen) as advance:
        report = run(Connections(), out, asked, workers=workers, is_folding=features, progress=advance)
    screen.print(report.describe(), soft_wrap=True)


def train(
    seed: Annotated[int, typer.Option(help="Seed of the world's first day and of the model.")] = 7,
) -> None:
    """Build model v0 from the first simulated day and put it into the registry (cached by content).

    Example: `rgalign train --seed 7`
    """
    from deploy.model_zero import ensure_model_zero
    from deploy.screen import console, progress
    from features.settings import Connections

    screen = console()
    with progress(screen) as advance:
        built = ensure_model_zero(Connections(), seed=seed, progress=advance)
    screen.print(f"model {built.version} in {built.folder}")


def recalibrate(
    since: Since = None,
    seed: Annotated[int, typer.Option(help="Seed of the training.")] = 7,
    *,
    publish: Annotated[bool, typer.Option(help="Serve the challenger when the judge promotes it.")] = True,
) -> None:
    """One closed-loop round: replay, align the reasoner, retrain the ranker, judge, publish.

    Example: `rgalign recalibrate --no-publish`
    """
    from deploy.recalibrate import run_round
    from deploy.screen import console, progress
    from features.settings import Connections

    screen = console()
    with progress(screen) as advance:
        finished = run_round(Connections(), since=moment(since), seed=seed, publish=publish, progress=advance)
    screen.print(finished.describe())


def moment(text: str | None) -> datetime | None:
    """A time as it is told on the command line, or None."""
    from features.contract import from_ms
    from training.window import moment_ms

    return None if text is None else from_ms(moment_ms(text, int(time.time() * 1000)))


COMMANDS = (simulate, replay, train, recalibrate)
