"""What the log says of every user at its end, as Parquet: the values of their online rows, and their state's digest."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from features.state import UserState
from features.views import ORDER_STATE, USER_ACTIVITY, Dtype, activity_values, order_values
from training.log_files import file_name
from training.part_files import ROWS_A_GROUP, SETTINGS
from training.rebuild import Rebuilt, event_bytes

FOLDER = "features"
BY_DECISIONS = frozenset({"prompts_in_session"})
"""Online features that follow decisions, not events: not rebuilt."""

_TYPES = {Dtype.FLOAT32: pa.float32(), Dtype.INT64: pa.int64(), Dtype.STRING: pa.string()}
_FEATURES = {
    name: _TYPES[dtype]
    for view in (USER_ACTIVITY, ORDER_STATE)
    for name, dtype in view.features.items()
    if name not in BY_DECISIONS
}
_SCHEMA = pa.schema(
    [
        ("partition", pa.int32()), ("user", pa.string()), ("event_ms", pa.int64()), ("state_sha256", pa.string()),
        *_FEATURES.items(),
    ]
)  # fmt: skip


def write_user_rows(root: Path, partition: int, found: Rebuilt) -> None:
    """Writes `<root>/features/part-PPPPP.parquet`, sorted by user."""
    folder = root / FOLDER
    folder.mkdir(parents=True, exist_ok=True)
    users = sorted(found.states)
    with pq.ParquetWriter(folder / file_name(partition), _SCHEMA, **SETTINGS) as writer:
        for begin in range(0, len(users), ROWS_A_GROUP):
            rows = [_row(partition, user, found.states[user]) for user in users[begin : begin + ROWS_A_GROUP]]
            writer.write_table(pa.Table.from_pylist(rows, schema=_SCHEMA))


def _row(partition: int, user: str, state: UserState) -> dict[str, Any]:
    values = activity_values(state) | order_values(state)
    return {
        "partition": partition,
        "user": user,
        "event_ms": state.last_ms,
        "state_sha256": hashlib.sha256(event_bytes(state)).hexdigest(),
        **{name: values[name] for name in _FEATURES},
    }
