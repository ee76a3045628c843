import numpy as np
import pytest

from export import bundle
from export.parity import TOLERANCE, Golden, requests
from features.schema import CATEGORICAL


def golden():
    return Golden(*requests(12), np.arange(16, dtype=np.float32).reshape(8, 2))


def test_golden_requests_survive_the_bundle():
    again = Golden.from_bytes(golden().to_bytes())
    assert again.difference(golden().logits) == 0
    assert again.to_bytes() == golden().to_bytes()


def test_the_difference_is_absolute_below_one_and_relative_above():
    off = golden().logits.copy()
    off[0, 0] += 0.5
    assert golden().difference(off) == pytest.approx(0.5)
    off = golden().logits.copy()
    off[7, 1] *= 1.1
    assert golden().difference(off) == pytest.approx(0.1, rel=1e-4)


@pytest.mark.parametrize(
    "logits", [np.zeros((8, 3)), np.zeros((0, 2)), np.full((8, 2), np.nan), np.full((8, 2), np.inf)]
)
def test_logits_of_another_shape_or_not_finite_never_pass(logits):
    assert golden().difference(logits.astype(np.float32)) == float("inf")


def test_requests_are_seeded_and_within_the_schema():
    one, two, other = requests(12, seed=1), requests(12, seed=1), requests(12, seed=2)
    np.testing.assert_array_equal(one[1], two[1])
    assert not np.array_equal(one[1], other[1])
    assert (one[0].categorical < np.array(list(CATEGORICAL.values()))).all()
    assert set(one[2]) == {True, False}


def test_a_written_bundle_records_its_difference_within_tolerance(built):
    assert 0 <= bundle.read_manifest(built).parity <= TOLERANCE
