"""A replayed window of the log on disk: Parquet files whose bytes depend on the records alone.

`<root>/<source>/dt=YYYY-MM-DD/part.parquet`, sorted by (partition, offset), `dt` being the UTC day of the record's
timestamp. Every row keeps the record's original bytes; what can be read of them stands beside in columns.
`<root>/replay.json` names the exact offsets.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import orjson
import pyarrow as pa
import pyarrow.parquet as pq

from features.contract import Contract, InvalidEvent, parse, to_ms
from features.events import Decision, Outcome, QueryRequested, UserEvent

Source = Literal["events", "decisions", "outcomes", "queries"]
CONTRACTS: Mapping[Source, type[UserEvent | Decision | Outcome | QueryRequested]] = {
    "events": UserEvent,
    "decisions": Decision,
    "outcomes": Outcome,
    "queries": QueryRequested,
}
MANIFEST = "replay.json"
ROWS_A_GROUP = 5_000

_SCHEMA = pa.schema(
    [
        ("partition", pa.int32()), ("offset", pa.int64()), ("timestamp_ms", pa.int64()), ("key", pa.binary()),
        ("value", pa.binary()), ("fault", pa.string()), ("tenant", pa.string()), ("user", pa.string()),
        ("event_ms", pa.int64()), ("id", pa.string()), ("decision_id", pa.string()), ("kind", pa.string()),
        ("intent_id", pa.string()), ("state_hash", pa.string()),
    ]
)  # fmt: skip


class ReplayError(RuntimeError):
    """The log cannot be replayed: Kafka is away, a topic is missing, or records of the window are gone."""


@dataclass(frozen=True, slots=True)
class Replayed:
    """What was replayed: offsets by source and partition, records and faulty records by source."""

    offsets: dict[Source, dict[int, tuple[int, int]]] = field(default_factory=dict)
    records: dict[Source, int] = field(default_factory=dict)
    faulty: dict[Source, int] = field(default_factory=dict)


def read(root: Path, source: Source) -> Iterator[Any]:
    """The messages of a replayed source in order of (partition, offset) within each day; faulty records are left out.

    Yields `UserEvent`, `Decision`, `Outcome` or `QueryRequested`. Raises `ReplayError` if `root` holds no replay.
    """
    if not (root / MANIFEST).is_file():
        raise ReplayError(f"{root} holds no {MANIFEST}; expected a folder that `replay` wrote: run `rgalign replay`")
    for path in sorted((root / source).glob("dt=*/part.parquet")):
        for batch in pq.ParquetFile(path).iter_batches(columns=["value", "fault"]):
            for value, fault in zip(batch["value"], batch["fault"], strict=True):
                if not fault.is_valid:
                    yield parse(CONTRACTS[source], value.as_py())


def prompts(root: Path) -> dict[str, str]:
    """The prompt of every state hash that was asked for in the window."""
    return {query.state_hash: query.prompt for query in read(root, "queries")}


def manifest(root: Path) -> Replayed:
    """What a replayed folder holds; its `offsets` make a `Window` that gives the same bytes again."""
    raw = orjson.loads((root / MANIFEST).read_bytes())
    spans = {s: {int(p): (first, end) for p, (first, end) in by.items()} for s, by in raw["offsets"].items()}
    return Replayed(spans, raw["records"], raw["faulty"])


class DayFile:
    """The Parquet file of one day, written in groups of rows with fixed settings."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir()
        self._path = folder / "part.parquet"
        self._writer = pq.ParquetWriter(self._path, _SCHEMA, compression="zstd", compression_level=3, version="2.6")
        self._rows: list[dict[str, Any]] = []

    def add(self, row: dict[str, Any]) -> None:
        """Appends a row; rows come in order of (partition, offset)."""
        self._rows.append(row)
        if len(self._rows) >= ROWS_A_GROUP:
            self._flush()

    def _flush(self) -> None:
        self._writer.write_table(pa.Table.from_pylist(self._rows, schema=_SCHEMA))
        self._rows = []

    def close(self) -> None:
        """Writes what is left and forces the file to disk."""
        if self._rows:
            self._flush()
        self._writer.close()
        _fsync(self._path)
        _fsync(self._path.parent)


def row_of(source: Source, record: Any) -> dict[str, Any]:
    """A Kafka record as a row; `fault` is the reason why its bytes could not be read, else None."""
    row: dict[str, Any] = dict.fromkeys(_SCHEMA.names)
    row |= {
        "partition": record.partition,
        "offset": record.offset,
        "timestamp_ms": record.timestamp,
        "key": record.key,
        "value": record.value,
    }
    try:
        return row | _columns(parse(CONTRACTS[source], record.value or b""))
    except InvalidEvent as error:
        return row | {"fault": error.reason}


def _columns(message: Contract) -> dict[str, Any]:
    told: dict[str, str | None]
    match message:
        case UserEvent():
            told = {"id": message.id, "kind": message.kind.value}
        case Decision():
            told = {
                "id": message.decision_id,
                "decision_id": message.decision_id,
                "kind": message.decision,
                "state_hash": message.embedding.state_hash,
            }
        case Outcome():
            told = {
                "id": message.id,
                "decision_id": message.decision_id,
                "kind": message.kind.value,
                "intent_id": message.intent_id,
            }
        case QueryRequested():
            told = {"id": message.origin, "state_hash": message.state_hash}
        case _:
            return {}
    return {"tenant": message.tenant, "user": message.user, "event_ms": to_ms(message.time), **told}


def refuse_foreign(out: Path) -> None:
    """Raises `ReplayError` for a folder that is not empty and was not written by a replay."""
    if out.exists() and any(out.iterdir()) and not (out / MANIFEST).is_file():
        raise ReplayError(f"{out} is not empty and holds no {MANIFEST}: choose a new folder, it would be replaced")


def publish(partial: Path, out: Path, told: Replayed) -> None:
    """Renames the finished folder into place; an older replay stays readable until then."""
    raw = {"offsets": told.offsets, "records": told.records, "faulty": told.faulty}
    options = orjson.OPT_NON_STR_KEYS | orjson.OPT_SORT_KEYS | orjson.OPT_INDENT_2
    (partial / MANIFEST).write_bytes(orjson.dumps(raw, option=options))
    _fsync(partial / MANIFEST)
    for source in CONTRACTS:
        _fsync(partial / source)
    _fsync(partial)
    old = out.with_name(f".{out.name}.old")
    shutil.rmtree(old, ignore_errors=True)
    if out.exists():
        out.rename(old)
    partial.rename(out)
    _fsync(out.parent)
    shutil.rmtree(old, ignore_errors=True)


def _fsync(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
