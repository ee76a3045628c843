"""The records of one partition as they become Parquet: rows, gathered in groups, in a file for each day.

When a group is written depends on the records alone: never on time, on who reads, or on the other partitions.
"""

from __future__ import annotations

from pathlib import Path
from types import TracebackType
from typing import Any, NamedTuple, Self

import pyarrow as pa
import pyarrow.parquet as pq

from features.acceptance import accepted, accepted_event
from features.canonical import CanonicalEvent
from features.contract import InvalidEvent, from_ms, to_ms
from features.decisions import Decision, Outcome
from features.events import UserEvent
from features.notices import QueryRequested
from training.log_files import CONTRACTS, Source, file_name

ROWS_A_GROUP = 5_000
MAX_BUFFERED_ROWS, MAX_BUFFERED_BYTES = 50_000, 64 * 1024 * 1024
"""What a partition keeps in memory over all its days; then every day writes what it has."""
_LATEST_MS = 253_402_300_799_999

SETTINGS = {"compression": "zstd", "compression_level": 3, "version": "2.6"}
_SCHEMA = pa.schema(
    [
        ("partition", pa.int32()), ("offset", pa.int64()), ("timestamp_ms", pa.int64()), ("key", pa.binary()),
        ("value", pa.binary()), ("fault", pa.string()), ("tenant", pa.string()), ("user", pa.string()),
        ("event_ms", pa.int64()), ("id", pa.string()), ("decision_id", pa.string()), ("kind", pa.string()),
        ("intent_id", pa.string()), ("state_hash", pa.string()),
    ]
)  # fmt: skip


class Row(NamedTuple):
    """A record and what could be read of it; `fault` is the reason why it would be dead-lettered, else None."""

    partition: int
    offset: int
    timestamp_ms: int
    key: bytes | None
    value: bytes | None
    fault: str | None = None
    tenant: str | None = None
    user: str | None = None
    event_ms: int | None = None
    id: str | None = None
    decision_id: str | None = None
    kind: str | None = None
    intent_id: str | None = None
    state_hash: str | None = None


def row_of(source: Source, record: Any) -> Row:
    """A Kafka record (as kafka-python gives it) as a row."""
    raw = Row(record.partition, record.offset, record.timestamp, record.key, record.value)
    try:
        message = _accepted(source, record.key, record.value)
    except InvalidEvent as error:
        return raw._replace(fault=error.reason)
    return Row(*raw[:5], None, message.tenant, message.user, to_ms(message.time), *_told(message))


def _accepted(source: Source, key: bytes | None, value: bytes | None) -> Any:
    contract: Any = CONTRACTS[source]
    return accepted_event(key, value) if contract is UserEvent else accepted(contract, key, value)


def _told(message: Any) -> tuple[str | None, ...]:
    """id, decision_id, kind, intent_id, state_hash."""
    match message:
        case UserEvent() | CanonicalEvent():
            return message.id, None, message.kind.value, None, None
        case Decision():
            return message.decision_id, message.decision_id, message.decision, None, message.embedding.state_hash
        case Outcome():
            return message.id, message.decision_id, message.kind.value, message.intent_id, None
        case QueryRequested():
            return message.origin, None, None, None, message.state_hash
        case _:
            raise TypeError(f"found a {type(message).__name__}; expected a message of a replayed source")


class PartFiles:
    """The files of one partition of a source; rows come in order of offset. A context manager."""

    def __init__(self, folder: Path, source: Source, partition: int) -> None:
        self._folder = folder / source
        self._folder.mkdir(parents=True, exist_ok=True)
        self._source = source
        self._name = file_name(partition)
        self._days: dict[str, _DayFile] = {}
        self._rows = self._bytes = 0
        self.records = self.faulty = 0

    def add(self, record: Any) -> None:
        """Files a Kafka record under its day."""
        row = row_of(self._source, record)
        self.records += 1
        self.faulty += row.fault is not None
        self._day(row.timestamp_ms).add(row)
        self._rows += 1
        self._bytes += len(row.value or b"")
        if self._rows >= MAX_BUFFERED_ROWS or self._bytes >= MAX_BUFFERED_BYTES:
            for day in self._days.values():
                day.flush()
            self._rows = self._bytes = 0

    def _day(self, timestamp_ms: int) -> _DayFile:
        dt = from_ms(min(timestamp_ms, _LATEST_MS)).date().isoformat()
        if dt not in self._days:
            self._days[dt] = _DayFile(self._folder / f"dt={dt}" / self._name)
        return self._days[dt]

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for day in self._days.values():
            day.close()


class _DayFile:
    def __init__(self, path: Path) -> None:
        path.parent.mkdir(exist_ok=True)
        self._writer = pq.ParquetWriter(path, _SCHEMA, **SETTINGS)
        self._rows: list[Row] = []

    def add(self, row: Row) -> None:
        self._rows.append(row)
        if len(self._rows) >= ROWS_A_GROUP:
            self.flush()

    def flush(self) -> None:
        if self._rows:
            columns = zip(zip(*self._rows, strict=True), _SCHEMA.types, strict=True)
            arrays = [pa.array(column, kind) for column, kind in columns]
            self._writer.write_table(pa.Table.from_arrays(arrays, schema=_SCHEMA))
            self._rows = []

    def close(self) -> None:
        self.flush()
        self._writer.close()
