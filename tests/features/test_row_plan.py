"""A view's plan: a whole row in order, and an unfit value is named with its feature."""

import pytest

from features.row_plan import RowPlan
from features.views import VIEWS
from features.wire import LayoutError, decode_time


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
        plan.encoded((0, "", "", 0, float("nan")), 1)
