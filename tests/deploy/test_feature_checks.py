"""What was served is what the log leads to: no skew over the real line, and a history that Feast joins as of a time."""

from __future__ import annotations

import asyncio
import hashlib
import shutil
import uuid
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import orjson
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from typer.testing import CliRunner

from deploy.cli import app
from deploy.feature_checks import check_skew, write_history
from features.decisions import FeatureRow
from features.definitions import apply
from features.served import SERVED_ROW
from features.settings import Connections
from features.views import INTENT_STATS, ORDER_STATE, USER_ACTIVITY, View
from stream.topics import create
from tests.deploy.lived_log import Lived, lived
from tests.stream import stage
from training import skew
from training.partition_log import PartitionLog, Served, read_partition
from training.replay import replay


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return stage.draft(tmp_path_factory.mktemp("bundle"))


@pytest.fixture(scope="module")
def living(kafka_url: str, redis_url: str, bundle: Path, tmp_path_factory: pytest.TempPathFactory) -> Lived:
    """A log of 40 sessions."""
    prefix = f"t{uuid.uuid4().hex[:12]}"
    where = Connections(kafka_url=kafka_url, redis_url=redis_url, prefix=prefix, registry=tmp_path_factory.mktemp("r"))
    create(where)
    return asyncio.run(lived(where, bundle))


@pytest.fixture(scope="module")
def log(living: Lived, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same, replayed."""
    root = tmp_path_factory.mktemp("replayed") / "log"
    replay(living.connections, root)
    return root


@pytest.fixture(scope="module")
def partition(log: Path) -> PartitionLog:
    """The busiest partition."""
    return max((read_partition(log, number, 0) for number in range(4)), key=lambda found: len(found.decisions))


def unwatched(what: str, done: int, total: int) -> None:
    """Nobody watches the progress."""


@pytest.fixture
def outputs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where commands leave their figures."""
    monkeypatch.chdir(tmp_path)
    return tmp_path / ".out"


def served_rows(found: PartitionLog) -> list[FeatureRow]:
    return [served.row for told in found.decisions.values() for served in told]


def changed(found: PartitionLog, offset: int, change: Callable[[Served], Served | None]) -> PartitionLog:
    """The log with the decision at `offset` changed, or without it."""
    others = {at: told for at, told in found.decisions.items() if at != offset}
    kept = [made for made in map(change, found.decisions[offset]) if made is not None]
    return replace(found, decisions=others | ({offset: kept} if kept else {}))


def with_column(cart_quantity: float) -> Callable[[Served], Served]:
    def change(served: Served) -> Served:
        row = orjson.loads(served.features_json)
        row["numeric"]["cart_quantity"] = cart_quantity
        return replace(served, features_json=orjson.dumps(row))

    return change


def test_nothing_that_was_served_differs_from_the_log(living: Lived, log: Path, outputs: Path) -> None:
    found, _ = check_skew(living.connections, log, None, unwatched)
    assert (found.differing, found.cut, found.interrupted, found.unattributed, found.other_schema) == (0, 0, 0, 0, 0)
    assert (found.decisions > 80, found.cells > 50 * found.decisions, found.snapshots > 0) == (True, True, True)
    assert orjson.loads((outputs / "skew.json").read_bytes())["differing"] == 0
    rows = [row for number in range(4) for row in served_rows(read_partition(log, number, 0))]
    for column in ("shown_1d", "clicked_1d", "prompts_in_session", "orders"):
        assert max(row.numeric[column] for row in rows) > 0, f"{column} was never put to the test"


def test_one_changed_cell_is_told_with_its_decision(living: Lived, partition: PartitionLog) -> None:
    offset = sorted(partition.decisions)[len(partition.decisions) // 2]
    [served] = partition.decisions[offset]
    found = skew.check_partition(changed(partition, offset, with_column(99.0)), living.policy.is_trigger)
    [told] = found.examples
    assert (found.differing, told) == (
        1,
        (served.decision_id, "cart_quantity", 99.0, served.row.numeric["cart_quantity"]),
    )


def test_the_command_ends_with_1_when_a_logged_cell_was_changed(log: Path, tmp_path: Path, outputs: Path) -> None:
    spoilt = tmp_path / "spoilt"
    shutil.copytree(log, spoilt)
    path = next(spoilt.glob("decisions/dt=*/part-*.parquet"))
    table = pq.read_table(path)
    values = table["value"].to_pylist()
    decision = orjson.loads(values[0])
    decision["features"]["numeric"]["session_events"] += 1
    table = table.set_column(
        table.schema.get_field_index("value"), "value", pa.array([orjson.dumps(decision), *values[1:]])
    )
    pq.write_table(table, path)
    ends = [CliRunner().invoke(app, ["features", "skew", "--log", str(root)]) for root in (log, spoilt)]
    assert [end.exit_code for end in ends] == [0, 1]
    assert decision["decision_id"][:8] in ends[1].output
    assert "session_events" in ends[1].output


def test_a_lost_event_a_lost_outcome_and_another_feedback_offset_are_skew(
    living: Lived, partition: PartitionLog
) -> None:
    offsets = sorted(partition.decisions)
    events = [record for record in partition.events if record.offset != offsets[1]]
    outcomes = {user: told[1:] for user, told in partition.outcomes.items()}
    deaf = {at: [replace(served, feedback_offset=-1) for served in told] for at, told in partition.decisions.items()}
    for spoilt in (
        replace(partition, events=events),
        replace(partition, outcomes=outcomes),
        replace(partition, decisions=deaf),
    ):
        assert skew.check_partition(spoilt, living.policy.is_trigger).differing > 0


def test_what_a_crash_or_the_retention_took_is_counted_beside(living: Lived, partition: PartitionLog) -> None:
    shown = next(at for at in sorted(partition.decisions) if partition.decisions[at][0].is_show)
    crashed = skew.check_partition(changed(partition, shown, lambda served: None), living.policy.is_trigger)
    assert (crashed.differing, crashed.interrupted > 0) == (0, True)
    first = sorted(partition.decisions)[len(partition.decisions) // 2]
    late = [record for record in partition.events if record.offset >= first]
    cut = skew.check_partition(replace(partition, events=late, first_offset=first), living.policy.is_trigger)
    assert (cut.differing, cut.cut > 0, cut.decisions) == (0, True, len(partition.decisions))


def test_the_history_equals_what_was_served_and_joins_as_of_a_time(living: Lived, log: Path, tmp_path: Path) -> None:
    offline, where = tmp_path / "offline", living.connections
    store = apply(tmp_path / "registry.db", "lived", where.redis_url, offline)
    write_history(where, offline, log, None, unwatched)
    before = digest(offline)
    write_history(where, offline, log, None, unwatched)
    assert digest(offline) == before
    for views in ((USER_ACTIVITY, ORDER_STATE, SERVED_ROW), (INTENT_STATS,)):
        rows = [pd.read_parquet(offline / view.name) for view in views]
        assert min(map(len, rows)) > (1 if INTENT_STATS in views else 80)
        asked = asked_of(rows[0], views[0])
        names = [f"{view.name}:{name}" for view in views for name in view.features]
        joined = store.get_historical_features(asked, names, full_feature_names=True).to_df()
        for view, found in zip(views, rows, strict=True):
            assert_equal(joined, as_of(asked, found, view), view)


def asked_of(rows: pd.DataFrame, view: View) -> pd.DataFrame:
    """Each entity at, just before and a while after each of its rows."""
    keys, times = rows[view.join_key], rows["event_timestamp"].astype("datetime64[ns, UTC]")
    shifts = [pd.Timedelta(0), pd.Timedelta(milliseconds=-1), pd.Timedelta(seconds=7)]
    return pd.concat([pd.DataFrame({view.join_key: keys, "event_timestamp": times + by}) for by in shifts])


def as_of(asked: pd.DataFrame, rows: pd.DataFrame, view: View) -> pd.DataFrame:
    """The oracle: the newest row of the entity at each moment."""
    kept = rows.sort_values(["event_timestamp", "created_timestamp"], kind="stable")
    kept = kept.assign(event_timestamp=kept["event_timestamp"].astype("datetime64[ns, UTC]"))
    return pd.merge_asof(asked.sort_values("event_timestamp"), kept, on="event_timestamp", by=view.join_key)


def assert_equal(found: pd.DataFrame, expected: pd.DataFrame, view: View) -> None:
    order = ["event_timestamp", view.join_key]
    one, other = (frame.drop_duplicates(order).sort_values(order).reset_index(drop=True) for frame in (found, expected))
    assert one[order].to_numpy().tolist() == other[order].to_numpy().tolist()
    for name in view.features:
        column = f"{view.name}__{name}"
        assert [told(value) for value in one[column]] == [told(value) for value in other[name]], column


def told(value: Any) -> Any:
    """A cell as something that equals itself, whatever the frame made of its type."""
    if isinstance(value, np.ndarray):
        return value.tolist()
    if pd.isna(value):
        return None
    return float(value) if isinstance(value, int | float | np.number) else value


def digest(folder: Path) -> dict[str, str]:
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return {str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}
