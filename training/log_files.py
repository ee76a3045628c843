"""A replayed window of the log on disk: Parquet files whose bytes depend on the records alone.

`<root>/<source>/dt=YYYY-MM-DD/part-PPPPP.parquet`: one file per UTC day of the record's timestamp and partition, in
order of offset, so that a partition can be replayed without a look at the others. Every row keeps the record's
original bytes; what can be read of them stands beside in columns. `<root>/replay.json` names the exact offsets.
"""

from __future__ import annotations

import hashlib
import heapq
import os
import shutil
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import orjson
import pyarrow.parquet as pq

from features.contract import parse
from features.decisions import Decision, Outcome
from features.events import UserEvent
from features.notices import QueryRequested
from training.rebuild import Folded

Source = Literal["events", "decisions", "outcomes", "queries"]
CONTRACTS: Mapping[Source, type[UserEvent | Decision | Outcome | QueryRequested]] = {
    "events": UserEvent,
    "decisions": Decision,
    "outcomes": Outcome,
    "queries": QueryRequested,
}
MANIFEST = "replay.json"
_RECORD = ("offset", "timestamp_ms", "key", "value")


class ReplayError(RuntimeError):
    """The log cannot be replayed: Kafka is away, a topic is missing, or records of the window are gone."""


@dataclass(frozen=True, slots=True)
class Replayed:
    """What was replayed: offsets by source and partition, records and faulty records by source.

    `folded` says by partition what became of the events, if they were folded.
    """

    offsets: dict[Source, dict[int, tuple[int, int]]] = field(default_factory=dict)
    records: dict[Source, int] = field(default_factory=dict)
    faulty: dict[Source, int] = field(default_factory=dict)
    folded: dict[int, Folded] = field(default_factory=dict)


def read(root: Path, source: Source) -> Iterator[Any]:
    """The messages of a replayed source in order of (partition, offset) within each day; faulty records are left out.

    Yields `UserEvent`, `Decision`, `Outcome` or `QueryRequested`. Raises `ReplayError` if `root` holds no such replay.
    """
    held = manifest(root)
    if source not in held.offsets:
        raise ReplayError(f"{root} holds {', '.join(held.offsets)}; expected {source}: replay it with this source")
    for path in _files(root, source):
        for batch in pq.ParquetFile(path).iter_batches(columns=["value", "fault"]):
            for value, fault in zip(batch["value"], batch["fault"], strict=True):
                if not fault.is_valid:
                    yield parse(CONTRACTS[source], value.as_py())


def records(root: Path, source: Source, partition: int) -> Iterator[tuple[int, int, bytes | None, bytes | None]]:
    """(offset, timestamp_ms, key, value) of one partition, all days, in order of offset; faulty records too."""
    return heapq.merge(*map(_records, _files(root, source, partition)), key=lambda record: record[0])


def prompts(root: Path) -> dict[str, str]:
    """The prompt of every state hash that was asked for in the window."""
    return {query.state_hash: query.prompt for query in read(root, "queries")}


def manifest(place: Path) -> Replayed:
    """What a replayed folder (or its manifest) holds; its `offsets` make a `Window` that gives the same bytes again.

    Raises `ReplayError` if there is no manifest.
    """
    path = place / MANIFEST if place.is_dir() else place
    if not path.is_file():
        raise ReplayError(f"{place} holds no {MANIFEST}; expected a folder that `replay` wrote: run `rgalign replay`")
    raw = orjson.loads(path.read_bytes())
    spans = {s: {int(p): (first, end) for p, (first, end) in by.items()} for s, by in raw["offsets"].items()}
    folded = {int(number): Folded(**found) for number, found in raw.get("folded", {}).items()}
    return Replayed(spans, raw["records"], raw["faulty"], folded)


def digest(root: Path) -> str:
    """SHA-256 over the names and bytes of all files of a folder."""
    told = hashlib.sha256()
    for path in sorted(path for path in root.rglob("*") if path.is_file()):
        with path.open("rb") as file:
            told.update(f"{path.relative_to(root)} {hashlib.file_digest(file, 'sha256').hexdigest()}\n".encode())
    return told.hexdigest()


def file_name(partition: int) -> str:
    """The name of a partition's files.

    >>> file_name(3)
    'part-00003.parquet'
    """
    return f"part-{partition:05d}.parquet"


def refuse_foreign(out: Path) -> None:
    """Raises `ReplayError` for a folder that is not empty and was not written by a replay."""
    if out.exists() and any(out.iterdir()) and not (out / MANIFEST).is_file():
        raise ReplayError(f"{out} is not empty and holds no {MANIFEST}: choose a new folder, it would be replaced")


def publish(partial: Path, out: Path, told: Replayed) -> None:
    """Renames the finished folder into place; an older replay stays readable until then."""
    options = orjson.OPT_NON_STR_KEYS | orjson.OPT_SORT_KEYS | orjson.OPT_INDENT_2
    (partial / MANIFEST).write_bytes(orjson.dumps(told, option=options))
    for path in (*partial.rglob("*"), partial):
        _fsync(path)
    old = out.with_name(f".{out.name}.old")
    shutil.rmtree(old, ignore_errors=True)
    if out.exists():
        out.rename(old)
    partial.rename(out)
    _fsync(out.parent)
    shutil.rmtree(old, ignore_errors=True)


def _files(root: Path, source: Source, partition: int | None = None) -> list[Path]:
    name = "part-*.parquet" if partition is None else file_name(partition)
    return sorted((root / source).glob(f"dt=*/{name}"))


def _records(path: Path) -> Iterator[Any]:
    for batch in pq.ParquetFile(path).iter_batches(columns=list(_RECORD)):
        yield from zip(*(batch[name].to_pylist() for name in _RECORD), strict=True)


def _fsync(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
