"""`rgalign`: the one command-line tool. Heavy imports wait for the command that needs them."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Annotated

import typer

from deploy.commands import dev, evaluate, features, kb, learning, reasoner, release, roles, topics

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_show_locals=False,
    rich_markup_mode="markdown",
    help="RGAlign-Rec: proactive support prompts from a live event stream. Start with `rgalign demo`.",
)
app.add_typer(dev.app, name="dev", help="Kafka, Valkey and all roles on this machine: up, down, status.")
app.add_typer(topics.app, name="topics", help="Create, list and watch topics; read and re-drive dead letters.")
app.add_typer(kb.app, name="kb", help="Check, compare and publish the knowledge base.")
app.add_typer(features.app, name="features", help="Intent statistics, the history for Feast, training-serving skew.")
app.add_typer(evaluate.app, name="evaluate", help="Judge a bundle against another; report how good the parts are.")
app.add_typer(reasoner.app, name="reasoner", help="Prove a backend of the language model; it serves only then.")
app.add_typer(release.app, name="release", help="List, serve and roll back model bundles.")
for command in (*roles.COMMANDS, *learning.COMMANDS):
    app.command()(command)


@app.command()
def demo(
    seconds: Annotated[int, typer.Option(help="Stop by itself after so many seconds of live traffic; 0: Ctrl-C.")] = 0,
    rate: Annotated[float, typer.Option(help="Shopper events a second.", min=1, max=500)] = 60.0,
    seed: Annotated[int, typer.Option(help="Seed of the simulated shoppers.")] = 7,
    port: Annotated[int, typer.Option(help="Port of the page; 0: any free one.")] = 8080,
    kill: Annotated[str, typer.Option(help="Kill -9 this part half-way: worker, broker or nothing.")] = "nothing",
) -> None:
    """The whole loop on real parts: events in, prompts out, clicks back, a recalibrated model swapped in.

    Example: `rgalign demo --seconds 120`
    """
    from deploy.demo import DemoSettings, run

    raise typer.Exit(run(DemoSettings(seconds=seconds, rate=rate, seed=seed, port=port, kill=kill)))


@app.command()
def doctor() -> None:
    """What this machine has, what is missing and the command that mends it.

    Example: `rgalign doctor`
    """
    from deploy.doctor import checks
    from deploy.screen import show_checks

    raise typer.Exit(show_checks(checks()))


def main(run: Callable[[], None] = app) -> None:
    """The console script. An expected error is one line and exit code 1; a bug keeps its traceback."""
    from deploy.screen import EXPECTED, explain

    try:
        run()
    except EXPECTED as error:
        sys.exit(explain(error))


if __name__ == "__main__":
    main()
