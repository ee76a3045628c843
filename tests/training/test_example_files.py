import json

import numpy as np
import pyarrow.parquet as pq
import pytest
from torch.utils.data import DataLoader

from features.schema import SchemaMismatch
from tests.training import checkerboard
from training.example_files import Batches, read, write


def same(one, other):
    columns = ("exposed", "positions", "clicks", "propensity", "eligible", "made_ms")
    texts = ("intent_ids", "state_hash", "user", "decision_id", "dropped")
    encoded = ("numeric", "categorical", "event_kinds", "event_ages")
    assert all(np.array_equal(getattr(one, name), getattr(other, name)) for name in columns)
    assert all(np.array_equal(getattr(one.encoded, name), getattr(other.encoded, name)) for name in encoded)
    assert all(getattr(one, name) == getattr(other, name) for name in texts)
    return True


@pytest.fixture
def examples():
    return checkerboard.dataset(100)[0]


def test_what_is_written_is_read_again(examples, tmp_path):
    write(examples, tmp_path / "examples.parquet")
    assert same(read(tmp_path / "examples.parquet"), examples)


def test_equal_examples_give_equal_bytes(examples, tmp_path):
    write(examples, tmp_path / "a.parquet")
    write(read(tmp_path / "a.parquet"), tmp_path / "b.parquet")
    assert (tmp_path / "a.parquet").read_bytes() == (tmp_path / "b.parquet").read_bytes()


@pytest.mark.parametrize("workers", [0, 2])
def test_a_torch_loader_gives_every_example_once(examples, tmp_path, workers):
    write(examples, tmp_path / "examples.parquet")
    loader = DataLoader(Batches(tmp_path / "examples.parquet", rows=16), batch_size=None, num_workers=workers)
    ids = [decision_id for batch in loader for decision_id in batch.decision_id]
    assert sorted(ids) == sorted(examples.decision_id)
    assert workers or tuple(ids) == examples.decision_id


def test_examples_of_another_schema_are_refused(examples, tmp_path):
    path = tmp_path / "examples.parquet"
    write(examples, path)
    table = pq.read_table(path)
    told = json.loads(table.schema.metadata[b"examples"]) | {"schema": "0" * 16}
    pq.write_table(table.replace_schema_metadata({"examples": json.dumps(told)}), path)
    with pytest.raises(SchemaMismatch, match="make the examples anew"):
        read(path)
