"""The offline side of the views: dt= folders of Parquet files that Feast's duckdb store joins as of a time.

`<offline_dir>/<view>/dt=YYYY-MM-DD/part-PPPPP.parquet`, `dt` being the UTC day of `event_timestamp`. A file appears
whole or not at all: written under a hidden name, forced to disk, renamed. Its bytes depend on its rows alone.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from features.views import Dtype, View
from training.log_files import file_name
from training.part_files import SETTINGS

CHUNK_ROWS = 5_000
_TYPES = {
    Dtype.FLOAT32: pa.float32(),
    Dtype.INT64: pa.int64(),
    Dtype.STRING: pa.string(),
    Dtype.VECTOR: pa.list_(pa.float32()),
}
_TIME = pa.timestamp("us", tz="UTC")


class ViewRows:
    """Rows of one view, packed while they are gathered; in any order."""

    def __init__(self, view: View) -> None:
        self._view = view
        self._schema = pa.schema(
            [
                (view.join_key, pa.string()),
                ("event_timestamp", _TIME),
                ("created_timestamp", _TIME),
                *((name, _TYPES[dtype]) for name, dtype in view.features.items()),
            ]
        )
        self._rows: list[list[Any]] = []
        self._packed: list[pa.Table] = []

    def add(self, key: str, event_ms: int, created_ms: int, values: Mapping[str, Any]) -> None:
        """Appends a row: its entity key, the event time it holds from, when it was made, its values by feature."""
        times = (event_ms * 1000, created_ms * 1000)
        self._rows.append([key, *times, *(values[name] for name in self._view.features)])
        if len(self._rows) >= CHUNK_ROWS:
            self._pack()

    def _pack(self) -> None:
        columns = zip(*self._rows, strict=True) if self._rows else ([] for _ in self._schema)
        arrays = [pa.array(column, kind) for column, kind in zip(columns, self._schema.types, strict=True)]
        self._packed.append(pa.Table.from_arrays(arrays, schema=self._schema))
        self._rows = []

    def write(self, offline_dir: Path, partition: int) -> int:
        """Files the rows by day; returns how many rows the files written now hold.

        A day's file is replaced only by one with at least as many rows: the log grows at its end and is cut at its
        beginning, so what an earlier run knew of a day that is now cut stays.
        """
        written = 0
        for dt, table in self._days():
            target = offline_dir / self._view.name / f"dt={dt}" / file_name(partition)
            if not target.exists() or pq.read_metadata(target).num_rows <= len(table):
                _put(table, target)
                written += len(table)
        return written

    def _days(self) -> Iterator[tuple[str, pa.Table]]:
        self._pack()
        order = [(name, "ascending") for name in ("event_timestamp", self._view.join_key, "created_timestamp")]
        table = pa.concat_tables(self._packed).sort_by(order).combine_chunks()
        days = pc.cast(table["event_timestamp"], pa.date32())
        for day in pc.unique(days):
            yield day.as_py().isoformat(), table.filter(pc.equal(days, day))


def _put(table: pa.Table, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    hidden = target.with_name(f".{target.name}.partial")
    pq.write_table(table, hidden, **SETTINGS)
    _fsync(hidden)
    hidden.rename(target)
    _fsync(target.parent)


def _fsync(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
