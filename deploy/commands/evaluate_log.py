"""`rgalign evaluate log`: how well rankers would have done on anybody's impressions, learning as they go by."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer


class Encoder(StrEnum):
    """What turns words into vectors."""

    HASHED = "hashed"
    TEXT = "text"
    REASONER = "reasoner"


def log(  # noqa: PLR0917 - the options of a command
    impressions: Annotated[
        Path | None,
        typer.Option(help="JSON lines in order of time: time, user, context, history, candidates, clicked."),
    ] = None,
    candidates: Annotated[Path | None, typer.Option(help="JSON lines: id and text of every candidate.")] = None,
    mimics: Annotated[
        Path | None, typer.Option(help="Instead of both: MIMICS-ClickExplore's own file (.tsv.gz), converted first.")
    ] = None,
    encoder: Annotated[
        Encoder, typer.Option(help="hashed: no model; text: the sentence encoder; reasoner: the LLM's last token.")
    ] = Encoder.HASHED,
    seed: Annotated[int, typer.Option(help="Seed of the model.")] = 7,
    warm_up: Annotated[int, typer.Option(help="So many impressions are learned from and not counted.", min=0)] = 0,
    out: Annotated[Path, typer.Option(help="Where the figures go as JSON.")] = Path(".out/impressions.json"),
) -> None:
    """Rank every impression of a log before learning from it, and report GAUC, MRR, NDCG@5 and Recall@3.

    The format is described in training/IMPRESSIONS.md. Memory does not grow with the log.

    Example: `rgalign evaluate log --impressions log.jsonl.gz --candidates candidates.jsonl`

    Example: `rgalign evaluate log --mimics Mimics-ClickExploreSampling.tsv.gz --encoder text`
    """
    from deploy.impression_report import report
    from deploy.screen import console, progress
    from features.settings import Connections

    screen = console()
    with progress(screen) as advance:
        told = report(
            (impressions, candidates, mimics), encoder.value, Connections().cache, out,
            seed=seed, warm_up=warm_up, progress=advance,
        )  # fmt: skip
    for table in told.tables:
        screen.print(table)
    screen.print(f"- {told.note}")
    screen.print(f"- written: {out}")
