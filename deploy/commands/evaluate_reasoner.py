"""`rgalign evaluate reasoner`: how well latent queries find the true intent."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def reasoner(
    out: Annotated[Path, typer.Option(help="The folder for reasoner.md and reasoner.svg.")] = Path(".out"),
    data: Annotated[
        Path | None,
        typer.Option(envvar="RGALIGN_DATA", help="The public data; ../shared/data where it exists when left out."),
    ] = None,
    kb: Annotated[
        Path | None, typer.Option(help="YAML file or folder of the knowledge base; the project's own when left out.")
    ] = None,
    seed: Annotated[int, typer.Option(help="Seed of the samples, the halves and the intervals.")] = 7,
    *,
    quick: Annotated[bool, typer.Option("--quick", help="A quarter of the questions.")] = False,
    accept_gemma_terms: Annotated[
        bool,
        typer.Option(
            "--accept-gemma-terms",
            help="I have read and accept https://ai.google.dev/gemma/terms: fetch Gemma 3 270M, once, to compare with.",
        ),
    ] = False,
) -> None:
    """Report how well latent queries find the true intent: models, poolings, modes, with and without the mean.

    In the simulated world, across languages, and on real questions where the public data is at hand. What is computed
    stays in the cache: a stopped report goes on where it was, a second one takes seconds.

    Example: `rgalign evaluate reasoner --quick`
    """
    from deploy.public_data import public_data
    from deploy.reasoner_report import FULL, QUICK, report
    from deploy.reasoner_tables import table as drawn
    from deploy.screen import console, progress
    from features.knowledge import load
    from features.settings import Connections

    screen, sizes, public = console(), QUICK if quick else FULL, public_data(data)
    with progress(screen) as advance:
        told = report(
            Connections().cache,
            load(kb),
            public,
            out,
            sizes=sizes,
            seed=seed,
            accepts_gemma=accept_gemma_terms,
            progress=advance,
        )
    for section in told.sections:
        screen.print(drawn(section))
    for line in (*told.notes, *(f"written: {path}" for path in told.files)):
        screen.print(f"- {line}")
