"""The offline jobs: simulate, replay, train, recalibrate and evaluate."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path
from typing import Annotated

import typer

Since = Annotated[datetime | None, typer.Option(help="Only records from this time on (UTC).")]
Until = Annotated[datetime | None, typer.Option(help="Only records before this time (UTC).")]


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
    out: Annotated[Path, typer.Argument(help="The folder for the Parquet files.")] = Path(".out/replay"),
    since: Since = None,
    until: Until = None,
) -> None:
    """Replay decisions and outcomes of the log into Parquet, byte-identical every time.

    Example: `rgalign replay .out/replay --since 2026-11-23T00:00:00`
    """
    from deploy.recalibrate import replay_window
    from deploy.screen import console, progress
    from features.settings import Connections

    screen = console()
    with progress(screen) as advance:
        replayed = replay_window(Connections(), out, since, until, advance)
    screen.print(f"{sum(replayed.records.values())} records in {out}: {replayed.records}")


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
        finished = run_round(Connections(), since=since, seed=seed, publish=publish, progress=advance)
    screen.print(finished.describe())


def evaluate(
    version: Annotated[str, typer.Argument(help="The challenger, a version of `rgalign release list`.")],
    against: Annotated[str | None, typer.Option(help="The champion; the serving bundle when left out.")] = None,
    since: Since = None,
) -> None:
    """Judge one bundle against another on logged decisions; nothing is published.

    Example: `rgalign evaluate v0002-1a2b3c4d --against v0001-5e6f7a8b`
    """
    from deploy.recalibrate import evaluate_bundles
    from deploy.screen import console
    from features.settings import Connections

    console().print(evaluate_bundles(Connections(), version, against, since))


COMMANDS = (simulate, replay, train, recalibrate, evaluate)
