"""`rgalign reasoner`: which backend of the language model may serve, and how well it agrees with the reference."""

from __future__ import annotations

import typer

app = typer.Typer(no_args_is_help=True)


@app.callback()
def reasoner() -> None:
    """What runs the language model is set by RGALIGN_REASONER and its kin (README, Settings)."""


@app.command()
def check() -> None:
    """Prove that the backend of the settings gives the reference's states, and keep the record that lets it serve.

    Exports the ONNX graph first if the backend is onnx. Minutes on a CPU, once a model and backend.

    Example: `RGALIGN_REASONER_BACKEND=onnx RGALIGN_REASONER_DTYPE=int8 rgalign reasoner check`
    """
    from deploy.screen import console, progress
    from export.reasoner_check import check_reasoner
    from features.models import chosen_reasoner
    from features.reasoner_settings import ReasonerSettings

    screen, settings = console(), ReasonerSettings()
    with progress(screen) as advance:
        folder = chosen_reasoner(settings.cache, settings.folder, advance)
        record = check_reasoner(folder, settings, progress=advance)
    screen.print(record.told())
    raise typer.Exit(0 if record.holds else 1)
