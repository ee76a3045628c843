"""The files of a partition hang on its records alone, not on when or beside whom they are written."""

import tempfile
from contextlib import ExitStack
from pathlib import Path
from types import SimpleNamespace

from hypothesis import given, settings
from hypothesis import strategies as st

from features.contract import from_ms
from features.events import UserEvent
from training import part_files
from training.log_files import digest, records
from training.part_files import PartFiles
from training.rebuild import Logged, log_digest, rebuild

START_MS = 1_735_732_800_000
SIZES = (7, 4, 9)


def record(partition, offset, timestamp_ms=None):
    at_ms = START_MS + offset * 14_400_000
    event = UserEvent(
        id=f"e{offset % 6}", type="page_viewed", time=from_ms(at_ms), user=f"u{partition}", data={"page": "home"}
    )
    return SimpleNamespace(
        partition=partition,
        offset=offset,
        timestamp=at_ms if timestamp_ms is None else timestamp_ms,
        key=event.key.encode(),
        value=None if offset == 3 else event.to_json(),
    )


def write(folder, order):
    """Files one record after the other, each the next of the partition that `order` names."""
    with ExitStack() as open_files:
        parts = [open_files.enter_context(PartFiles(folder, "events", number)) for number in range(len(SIZES))]
        for number in order:
            parts[number].add(record(number, parts[number].records))


@settings(max_examples=10, deadline=None)
@given(order=st.permutations([number for number, size in enumerate(SIZES) for _ in range(size)]))
def test_any_interleaving_of_partitions_gives_the_same_files_and_the_same_states(order):
    with tempfile.TemporaryDirectory() as scratch:
        straight, mixed = Path(scratch) / "straight", Path(scratch) / "mixed"
        write(straight, sorted(order))
        write(mixed, order)
        assert digest(mixed) == digest(straight)
        assert states(mixed) == states(straight)


def states(folder):
    return log_digest({n: rebuild([Logged(*r) for r in records(folder, "events", n)]) for n in range(len(SIZES))})


def test_records_come_back_in_order_of_offset_however_their_days_overlap(tmp_path):
    with PartFiles(tmp_path, "events", 0) as files:
        for offset in range(8):
            files.add(record(0, offset, START_MS + (offset % 3) * 86_400_000))
    assert [found[0] for found in records(tmp_path, "events", 0)] == list(range(8))
    assert len(list(tmp_path.rglob("*.parquet"))) == 3


def test_an_unheard_of_timestamp_has_a_day_too(tmp_path):
    with PartFiles(tmp_path, "events", 0) as files:
        files.add(record(0, 0, -1))
        files.add(record(0, 1, 10**17))
    assert sorted(path.name for path in (tmp_path / "events").iterdir()) == ["dt=1969-12-31", "dt=9999-12-31"]


def test_many_days_do_not_pile_up_in_memory(tmp_path, monkeypatch):
    monkeypatch.setattr(part_files, "MAX_BUFFERED_ROWS", 4)
    with PartFiles(tmp_path, "events", 0) as files:
        for offset in range(10):
            files.add(record(0, offset, START_MS + offset * 86_400_000))
    assert [found[0] for found in records(tmp_path, "events", 0)] == list(range(10))
    assert files.records == 10
    assert files.faulty == 1
