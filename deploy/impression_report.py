"""An impression log validated progressively: which files, which encoder, and the figures as tables and JSON."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import orjson

from deploy.screen import Advance
from features.prompt import SLOT
from training import impressions, mimics, progressive
from training.impression_arrays import Arrays, Encode, hashed
from training.impression_figures import NAMES, Figures
from training.metrics import Interval

if TYPE_CHECKING:
    from rich.table import Table

Sources = tuple[Path | None, Path | None, Path | None]
"""impressions, candidates, MIMICS"""


@dataclass(frozen=True, slots=True)
class Told:
    """What is shown."""

    tables: tuple[Table, ...]
    note: str


def report(
    sources: Sources, encoder: str, cache: Path, out: Path, *, seed: int, warm_up: int, progress: Advance
) -> Told:
    """Validates the log, writes the figures to `out` and returns them as tables."""
    with tempfile.TemporaryDirectory() as scratch:
        log, texts = _files(sources, Path(scratch))
        named = impressions.candidates(texts)
        progress("embed the candidates", 0, len(named))
        arrays = Arrays(named, _encode(encoder, cache))
        progress("embed the candidates", len(named), len(named))
        total, began, figures = impressions.size(log), time.perf_counter(), Figures()
        for done, told in progressive.validate(impressions.impressions(log), named, arrays, seed=seed, warm_up=warm_up):
            figures = told
            progress("rank, then learn", done, total)
    seconds = time.perf_counter() - began
    return _told(figures, encoder, out, seconds, seed)


def _files(sources: Sources, scratch: Path) -> tuple[Path, Path]:
    log, candidates, source = sources
    if source is not None:
        log, candidates = scratch / "impressions.jsonl", scratch / "candidates.jsonl"
        mimics.convert(source, log, candidates)
    if log is None or candidates is None:
        raise ValueError("found no log; expected --impressions FILE with --candidates FILE, or --mimics FILE")
    return log, candidates


def _encode(name: str, cache: Path) -> Encode:
    if name == "hashed":
        return hashed
    from features.vectors import sources

    text, reasoner = sources(cache)
    if name == "text":
        return text.load().embed
    model = reasoner.load()

    def ended(texts: Sequence[str]) -> np.ndarray[tuple[int, int], np.dtype[np.float32]]:
        return np.asarray(model.embed([f"{told}.{SLOT}" for told in texts]), np.float32)

    return ended


def _told(figures: Figures, encoder: str, out: Path, seconds: float, seed: int) -> Told:
    found = figures.figures()
    minus = {other: figures.difference("qerec", other) for other in found if other != "qerec"}
    counts = {"impressions": figures.impressions, "clicked": figures.clicked}
    out.parent.mkdir(parents=True, exist_ok=True)
    written = {
        **counts, "encoder": encoder, "seed": seed, "seconds": round(seconds, 1),
        "figures": _plain(found), "qerec_minus": _plain(minus),
    }  # fmt: skip
    out.write_bytes(orjson.dumps(written, option=orjson.OPT_INDENT_2))
    note = (
        f"{figures.impressions:,} impressions ranked before anything was learned from them, {figures.clicked:,} with a "
        f"click; {seconds:.0f} s; words by {encoder}; 95 % intervals over users"
    )
    return Told((_table("Ranker", found), _table("QE-Rec minus", minus, sign="+")), note)


def _plain(told: Mapping[str, Mapping[str, Interval]]) -> dict[str, dict[str, dict[str, float]]]:
    return {name: {metric: one._asdict() for metric, one in row.items()} for name, row in told.items()}


def _table(title: str, told: Mapping[str, Mapping[str, Interval]], sign: str = "") -> Table:
    from rich.table import Table

    table = Table(title, *NAMES, box=None, pad_edge=False)
    for name, row in told.items():
        cells = (f"{one.mean:{sign}.4f} [{one.low:{sign}.4f}, {one.high:{sign}.4f}]" for one in row.values())
        table.add_row("QE-Rec" if name == "qerec" else name, *cells)
    return table
