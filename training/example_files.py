"""Training examples as one Parquet file, and a torch loader that reads it batch by batch.

A row is an example; what all share - the intents, what the join dropped, the schema - stands in the file's metadata.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import orjson
import pyarrow as pa
import pyarrow.parquet as pq
import torch
from numpy.typing import NDArray
from torch.utils.data import IterableDataset

from features.schema import Encoded, SchemaMismatch, fingerprint
from training.dataset import Dataset, Dropped

_ENCODED = ("numeric", "categorical", "event_kinds", "event_ages")
_SLATE = ("exposed", "positions", "clicks", "propensity")
_TEXTS = ("state_hash", "user", "decision_id")
ROWS_A_GROUP = 4096


def write(dataset: Dataset, path: Path) -> None:
    """Writes the examples in their order; the file appears whole or not at all, equal examples give equal bytes."""
    columns: dict[str, Any] = {name: _lists(getattr(dataset.encoded, name)) for name in _ENCODED}
    columns |= {name: _lists(getattr(dataset, name)) for name in _SLATE}
    columns["eligible"] = pa.array([row.tobytes() for row in np.packbits(dataset.eligible, axis=1)], pa.binary())
    columns |= {name: pa.array(getattr(dataset, name), pa.string()) for name in _TEXTS}
    columns["made_ms"] = pa.array(dataset.made_ms, pa.int64())
    told = {"intent_ids": dataset.intent_ids, "dropped": asdict(dataset.dropped), "schema": fingerprint()}
    table = pa.table(columns).replace_schema_metadata({"examples": orjson.dumps(told)})
    hidden = path.with_name(f".{path.name}.{os.getpid()}")
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(table, hidden, row_group_size=ROWS_A_GROUP, compression="zstd")
    hidden.replace(path)


def read(path: Path) -> Dataset:
    """What `write` wrote. Raises `SchemaMismatch` when another feature schema wrote it."""
    with pq.ParquetFile(path) as file:
        told = _told(file, path)
        return _dataset(file.read(), told)


class Batches(IterableDataset[Dataset]):
    """The examples of a file, `rows` at a time, in bounded memory: a torch dataset whose items are whole batches.

    Give it to a `DataLoader` with `batch_size=None`. Several workers share the batches; each process of a torchrun
    takes its own with `training.across.Team.share`.
    """

    def __init__(self, path: Path, rows: int = 1024) -> None:
        super().__init__()
        self._path, self._rows = path, rows

    def __iter__(self) -> Iterator[Dataset]:
        worker = torch.utils.data.get_worker_info()
        number, workers = (worker.id, worker.num_workers) if worker is not None else (0, 1)
        with pq.ParquetFile(self._path) as file:
            told = _told(file, self._path)
            for place, batch in enumerate(file.iter_batches(batch_size=self._rows)):
                if place % workers == number:
                    yield _dataset(pa.Table.from_batches([batch]), told)


def _told(file: pq.ParquetFile, path: Path) -> dict[str, Any]:
    told: dict[str, Any] = orjson.loads((file.schema_arrow.metadata or {}).get(b"examples", b"{}"))
    if told.get("schema") != fingerprint():
        raise SchemaMismatch(
            f"{path} holds examples of schema {told.get('schema')}, this program's is {fingerprint()}: "
            "make the examples anew from the log"
        )
    return told


def _dataset(table: pa.Table, told: dict[str, Any]) -> Dataset:
    rows, intents = len(table), len(told["intent_ids"])
    packed = np.frombuffer(b"".join(table["eligible"].to_pylist()), np.uint8).reshape(rows, (intents + 7) // 8)
    texts: dict[str, Any] = {name: tuple(table[name].to_pylist()) for name in _TEXTS}
    slates: dict[str, Any] = {name: _matrix(table[name]) for name in _SLATE}
    return Dataset(
        intent_ids=tuple(told["intent_ids"]),
        encoded=Encoded(**{name: _matrix(table[name]) for name in _ENCODED}),
        **slates,
        eligible=np.unpackbits(packed, axis=1, count=intents).astype(np.bool_),
        made_ms=table["made_ms"].to_numpy(),
        dropped=Dropped(**told["dropped"]),
        **texts,
    )


def _lists(matrix: NDArray[Any]) -> pa.Array:
    """A matrix as a column of lists of one length."""
    return pa.FixedSizeListArray.from_arrays(pa.array(np.ascontiguousarray(matrix).ravel()), matrix.shape[1])


def _matrix(column: pa.ChunkedArray) -> NDArray[Any]:
    width = column.type.list_size
    flat = column.combine_chunks().flatten().to_numpy(zero_copy_only=False)
    return np.array(flat).reshape(-1, width)
