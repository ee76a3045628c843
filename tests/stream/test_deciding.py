"""From a scored trigger to a decision: what is logged is what was scored, to the last bit."""

from __future__ import annotations

import math

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from stream.deciding import rounded
from stream.ranking import MAX_SCORE

scores_of = st.lists(st.floats(-MAX_SCORE, MAX_SCORE, width=32) | st.integers(-(2**20), 2**20).map(lambda n: n / 2**21))


@given(scores_of)
def test_all_scores_are_rounded_as_each_by_itself(scores: list[float]) -> None:
    found = rounded(np.array(scores, np.float32))
    expected = [round(float(score), 6) for score in np.array(scores, np.float32)]
    assert found == expected
    assert [math.copysign(1, score) for score in found] == [math.copysign(1, score) for score in expected]
