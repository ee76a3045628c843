"""`rgalign features history` and `skew`: the log, replayed or as a folder has it, by the rules of this deployment."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from deploy import figures
from deploy.screen import Advance
from features.contract import to_ms
from features.settings import Connections
from stream.policy import PolicySettings
from training import history
from training import skew as skews
from training.replay import Source, Window, replay

if TYPE_CHECKING:
    from rich.table import Table

SOURCES: tuple[Source, ...] = ("events", "decisions", "outcomes")


def write_history(
    connections: Connections, out: Path, log: Path | None, until: datetime | None, progress: Advance
) -> str:
    """Writes the history and says in one line what was written."""
    with _replayed(connections, log, until, progress) as root:
        told = history.write_history(root, out, connections.tenant, PolicySettings().is_trigger)
    rows = ", ".join(f"{count} of {view}" for view, count in told.rows.items())
    return (
        f"{told.decisions} decisions; rows in {out}: {rows}; "
        f"not derivable: {told.not_derivable}, of another schema: {told.other_schema}"
    )


def check_skew(
    connections: Connections, log: Path | None, until: datetime | None, progress: Advance
) -> tuple[skews.Skew, Table]:
    """The skew of the log, and a table of it for a person; writes `.out/skew.json`."""
    with _replayed(connections, log, until, progress) as root:
        found = skews.check(root, connections.tenant, PolicySettings().is_trigger)
    figures.write("skew", counts_of(found))
    return found, _table(found)


def counts_of(found: skews.Skew) -> dict[str, figures.Figure]:
    """The counts of a skew."""
    return {name: value for name in found.__slots__ if isinstance(value := getattr(found, name), int)}


@contextmanager
def _replayed(connections: Connections, log: Path | None, until: datetime | None, progress: Advance) -> Iterator[Path]:
    if log is not None:
        yield log
        return
    window = Window(until_ms=None if until is None else to_ms(until.replace(tzinfo=until.tzinfo or UTC)))
    with tempfile.TemporaryDirectory() as scratch:
        root = Path(scratch) / "log"
        replay(connections, root, window, sources=SOURCES, progress=progress)
        yield root


def _table(found: skews.Skew) -> Table:
    from rich.table import Table

    counts = ", ".join(f"{name} {value}" for name, value in counts_of(found).items())
    shown = Table("decision", "column", "served", "recomputed", title=f"training-serving skew: {counts}")
    for difference in found.examples:
        shown.add_row(*map(str, difference))
    return shown
