"""Rows of a view by day: bytes that depend on the rows alone, files that appear whole and never shrink."""

import pandas as pd
from hypothesis import given, settings
from hypothesis import strategies as st

from features.views import ORDER_STATE
from training.history_files import ViewRows

NOON_MS = 1_767_268_800_000
DAY_MS = 86_400_000
VALUES = {"orders": 1, "order_id": "o1", "order_status": "paid", "order_changed_ms": NOON_MS, "delay_days": 0.5}


def rows(*times, key="demo:u1"):
    gathered = ViewRows(ORDER_STATE)
    for at_ms in times:
        gathered.add(key, at_ms, at_ms + 5, VALUES)
    return gathered


def files(folder):
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


def test_rows_are_filed_by_the_day_of_their_event_time(tmp_path):
    assert rows(NOON_MS + DAY_MS, NOON_MS, NOON_MS + 1).write(tmp_path, 3) == 3
    assert list(files(tmp_path)) == [f"order_state/dt=2026-01-0{day}/part-00003.parquet" for day in (1, 2)]
    table = pd.read_parquet(tmp_path / "order_state")
    assert table["event_timestamp"].is_monotonic_increasing
    assert table["delay_days"].tolist() == [0.5] * 3


def test_a_day_that_the_log_no_longer_has_as_a_whole_stays_as_it_was(tmp_path):
    rows(NOON_MS, NOON_MS + 1).write(tmp_path, 0)
    before = files(tmp_path)
    assert rows(NOON_MS + 1).write(tmp_path, 0) == 0
    assert files(tmp_path) == before
    assert rows(NOON_MS, NOON_MS + 1, NOON_MS + 2).write(tmp_path, 0) == 3


def test_no_rows_are_no_files(tmp_path):
    assert ViewRows(ORDER_STATE).write(tmp_path, 0) == 0
    assert files(tmp_path) == {}


@settings(max_examples=20, deadline=None)
@given(st.permutations([NOON_MS + n * 3_600_000 for n in range(8)]))
def test_the_order_of_gathering_changes_no_byte(tmp_path_factory, times):
    one, other = tmp_path_factory.mktemp("one"), tmp_path_factory.mktemp("other")
    rows(*sorted(times)).write(one, 0)
    rows(*times).write(other, 0)
    assert files(one) == files(other)
