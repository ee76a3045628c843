"""A view's plan: exactly the features that changed are named, and an unfit value is named with its feature."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from features.row_plan import RowPlan, changed
from features.views import VIEWS, Dtype, View
from features.wire import LayoutError, decode_time, encode_value

FLOATS = st.floats(width=32, allow_nan=False, allow_infinity=False)
SCALARS = {
    Dtype.FLOAT32: st.none() | st.sampled_from([0.0, -0.0, 0, 1, 1.0]) | FLOATS,
    Dtype.INT64: st.none() | st.integers(-(2**63), 2**63 - 1),
    Dtype.STRING: st.none() | st.text(max_size=3),
}
MIXED = View("mixed", "e", "k", {dtype.name: dtype for dtype in SCALARS}, 1, "")
ROWS = st.tuples(*SCALARS.values())


@given(ROWS, ROWS)
def test_changed_are_the_features_whose_bytes_differ(before, after):
    places = changed(before, after)
    bytes_of = [
        [encode_value(dtype, value) for dtype, value in zip(SCALARS, row, strict=True)] for row in (before, after)
    ]
    differing = [place for place, (old, new) in enumerate(zip(*bytes_of, strict=True)) if old != new]
    assert set(differing) <= set(places)
    assert all(before[place] is not after[place] for place in places)


@given(ROWS)
def test_the_changes_of_all_places_are_the_whole_row(values):
    plan = RowPlan(MIXED, "p")
    assert plan.encoded_part(values, range(3), 7) == plan.encoded(values, 7)


def test_a_row_is_its_time_and_then_every_feature():
    plan = RowPlan(VIEWS["order_state"], "p")
    parts = plan.encoded((1, "A-1", "delayed", 5, 0.5), 1500)
    assert parts[0] == plan.time
    assert decode_time(parts[1]) == 1500
    assert tuple(parts[2::2]) == plan.read_fields[:-1]
    assert plan.decoded([*parts[3::2], parts[1]]) == dict(
        zip(plan.features, (1, "A-1", "delayed", 5, 0.5), strict=True)
    )


def test_an_unfit_value_is_named_with_its_feature():
    plan = RowPlan(VIEWS["order_state"], "p")
    with pytest.raises(LayoutError, match="order_state:orders: 'x' cannot be kept as int64"):
        plan.encoded(("x", "", "", 0, 0.0), 1)
    with pytest.raises(LayoutError, match="order_state:delay_days: nan cannot be kept as float32"):
        plan.encoded_part((0, "", "", 0, float("nan")), [1, 4], 1)
