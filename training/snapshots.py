"""The snapshots of intent statistics that logged decisions name, computed again from the log."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator
from pathlib import Path

from features.acceptance import accepted
from features.contract import InvalidEvent, parse
from features.decisions import Decision, Outcome
from training.intent_stats import WINDOW_MS, Snapshot, Tiles, until_of
from training.log_files import Source, manifest
from training.partition_log import Records
from training.rebuild import Logged

NO_SNAPSHOT = "none"
"""What a decision names that knew no snapshot."""


def recomputed_snapshots(root: Path, tenant: str, untils_ms: Iterable[int]) -> dict[int, Snapshot]:
    """The snapshot of a tenant as of each `until_ms`, from the decisions and outcomes of a replayed folder."""
    tiles = Tiles(tenant)
    for record in _records(root, "decisions"):
        try:
            tiles.decided(parse(Decision, record.value or b""), record.timestamp_ms)
        except InvalidEvent:
            continue
    for record in _records(root, "outcomes"):
        try:
            tiles.told(accepted(Outcome, record.key, record.value), record.timestamp_ms)
        except InvalidEvent:
            continue
    found = {}
    for until_ms in sorted(set(untils_ms)):
        tiles.close(until_ms)
        found[until_ms] = tiles.snapshot()
    return found


def founded(root: Path, tenant: str, versions: Collection[str]) -> list[Snapshot]:
    """The snapshots of those of `versions` that the log leads to, oldest first."""
    untils = [found for version in versions if (found := _until(version)) is not None]
    again = recomputed_snapshots(root, tenant, untils)
    return [snapshot for snapshot in again.values() if snapshot.version in versions]


def unfounded(root: Path, tenant: str, versions: Collection[str]) -> dict[str, str]:
    """Those of `versions` that the log does not lead to, with what it leads to instead.

    A version whose window begins before the decisions and outcomes that are kept is taken on trust.
    """
    untils = {version: found for version in versions if (found := _until(version)) is not None}
    again = recomputed_snapshots(root, tenant, untils.values())
    kept_ms = kept_since_ms(root)
    wrong = {
        version: again[until_ms].version
        for version, until_ms in untils.items()
        if again[until_ms].version != version and until_ms - WINDOW_MS >= kept_ms
    }
    return wrong | dict.fromkeys(set(versions) - untils.keys(), "no version of a snapshot")


def kept_since_ms(root: Path) -> int:
    """Since when every partition of the replayed decisions and outcomes is whole; 0 when nothing was cut."""
    spans = manifest(root).offsets
    firsts = [
        next(iter(Records(root, source, number)), None)
        for source in _SOURCES
        for number, (first, _) in spans[source].items()
        if first > 0
    ]
    return max((record.timestamp_ms for record in firsts if record is not None), default=0)


_SOURCES: tuple[Source, Source] = ("decisions", "outcomes")


def _until(version: str) -> int | None:
    try:
        return until_of(version)
    except ValueError:
        return None


def _records(root: Path, source: Source) -> Iterator[Logged]:
    for number in sorted(manifest(root).offsets[source]):
        yield from Records(root, source, number)
