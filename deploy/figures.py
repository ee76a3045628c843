"""What a command measured: shown as a readable table, and the same figures as flat JSON under `.out/`."""

from __future__ import annotations

import json
import platform
from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path

from rich.console import Console
from rich.table import Table

Figure = float | int | str | bool | None

_VERSIONED = ("faust-streaming", "aiokafka", "redis", "torch", "onnxruntime", "transformers", "feast")


def versions() -> dict[str, str]:
    """The versions a figure depends on, as flat keys such as `version_torch`."""
    found = {"version_python": platform.python_version()}
    for package in _VERSIONED:
        try:
            found[f"version_{package.replace('-', '_')}"] = version(package)
        except ModuleNotFoundError:
            continue
    return found


def write(command: str, figures: Mapping[str, Figure], folder: Path = Path(".out")) -> Path:
    """Writes `<folder>/<command>.json`, whole or not at all, with the versions added; returns its path."""
    nested = [key for key, figure in figures.items() if not isinstance(figure, float | int | str | bool | None)]
    if nested:
        raise TypeError(f"figures are flat (numbers, text, true/false, null); {', '.join(nested)} are not")
    folder.mkdir(parents=True, exist_ok=True)
    target = folder / f"{command}.json"
    partial = target.with_suffix(".json.part")
    partial.write_text(json.dumps({**figures, **versions()}, indent=2, allow_nan=False) + "\n")
    return partial.replace(target)


def table(title: str, figures: Mapping[str, Figure]) -> Table:
    """The figures as a two-column table."""
    shown = Table(title=title, title_justify="left", show_header=False, pad_edge=False)
    shown.add_column("figure", style="dim")
    shown.add_column("value", justify="right")
    for key, figure in figures.items():
        shown.add_row(key, _readable(figure))
    return shown


def report(command: str, title: str, figures: Mapping[str, Figure], console: Console) -> Path:
    """Prints the table, writes the file and says where it is."""
    console.print(table(title, figures))
    target = write(command, figures)
    console.print(f"[dim]the same figures as JSON: {target}[/dim]")
    return target


def _readable(figure: Figure) -> str:
    if figure is None:
        return "-"
    if isinstance(figure, float):
        return f"{figure:,.4g}" if abs(figure) < 1000 else f"{figure:,.0f}"
    if isinstance(figure, int) and not isinstance(figure, bool):
        return f"{figure:,}"
    return str(figure)
