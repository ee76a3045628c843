"""Columns say what single values say, for every type, with nulls and missing rows; another type's bytes are refused."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from features.columns import NEVER, Selection
from features.row_plan import RowPlan
from features.views import Dtype, View
from features.wire import LayoutError, encode_time, encode_value

NOW_MS, TTL_MS = 1_790_000_000_123, 60_000
ONE = View("one", "e", "k", {dtype.name: dtype for dtype in Dtype}, TTL_MS, "")
TWO = View("two", "e", "k", {"count": Dtype.INT64, "share": Dtype.FLOAT32}, TTL_MS, "")
ELSEWHERE = View("elsewhere", "other", "o", {"count": Dtype.INT64}, TTL_MS, "")
PLANS = {view.name: RowPlan(view, "p") for view in (ONE, TWO, ELSEWHERE)}
FEATURES = {"one": list(ONE.features), "two": ["count"]}
WIDTH = 3

FLOATS = st.floats(width=32, allow_nan=False, allow_infinity=False)
VALUES = st.tuples(
    st.none() | FLOATS,
    st.none() | st.integers(-(2**63), 2**63 - 1),
    st.none() | st.text(max_size=300),
    st.none() | st.lists(FLOATS, min_size=WIDTH, max_size=WIDTH),
    st.none() | st.integers(0, 300),
)
AGES = st.none() | st.integers(0, 2 * TTL_MS)
SELECTION = Selection(PLANS, FEATURES, {"VECTOR": WIDTH})


def reply(values, ages=(0, 0)):
    """What the store answers to SELECTION's fields: values by type, then the views' times."""
    number, whole, text, vector, count = values
    raw = [
        encode_value(Dtype.FLOAT32, number),
        encode_value(Dtype.INT64, whole),
        encode_value(Dtype.INT64, count),
        encode_value(Dtype.STRING, text),
        encode_value(Dtype.VECTOR, vector),
    ]
    return [*raw, *(None if age is None else encode_time(NOW_MS - age) for age in ages)]


def is_gone(age):
    return age is None or age > TTL_MS


@given(st.lists(st.tuples(VALUES, AGES, AGES), max_size=5))
def test_columns_say_what_was_written(written):
    rows = SELECTION.rows([reply(values, ages) for values, *ages in written], NOW_MS)
    assert rows.ages_ms.tolist() == [[NEVER if age is None else age for age in ages] for _, *ages in written]
    assert rows.missing.tolist() == [[is_gone(age) for age in ages] for _, *ages in written]
    for place, (values, one, two) in enumerate(written):
        number, whole, text, vector = [None] * 4 if is_gone(one) else values[:4]
        count = None if is_gone(two) else values[4]
        same_bits(rows.column("one", "FLOAT32")[place], np.nan if number is None else number)
        assert rows.column("one", "STRING")[place] == text
        same_bits(rows.column("one", "VECTOR")[place], [np.nan] * WIDTH if vector is None else vector)
        assert rows.int64[place].tolist() == [whole or 0, count or 0]
        assert rows.int64_null[place].tolist() == [whole is None, count is None]
        assert rows.column("two", "count")[place] == (count or 0)


def same_bits(found, expected):
    assert np.asarray(found).tobytes() == np.asarray(expected, np.float32).tobytes()


def test_a_vector_of_another_width_is_null():
    rows = SELECTION.rows([reply((0.0, 0, "", vector, 0)) for vector in ([], [1.0], [1.0, 2.0, 3.0])], NOW_MS)
    assert np.isnan(rows.column("one", "VECTOR")).all(axis=1).tolist() == [True, True, False]


def test_no_entities_are_no_rows():
    rows = SELECTION.rows([], NOW_MS)
    assert (rows.float32.shape, rows.int64.shape, rows.ages_ms.shape) == ((0, 1), (0, 2), (0, 2))
    assert (rows.strings, rows.vectors["one", "VECTOR"].shape) == ([], (0, WIDTH))


def test_types_that_are_not_asked_for_have_no_columns():
    rows = Selection(PLANS, {"two": ["share"]}, {}).rows([[encode_value(Dtype.FLOAT32, 0.5), None]], NOW_MS)
    assert (rows.int64.shape, rows.int64_null.shape, rows.strings, rows.vectors) == ((1, 0), (1, 0), [[]], {})


@pytest.mark.parametrize("place", range(5))
def test_bytes_of_another_type_are_refused_with_advice(place):
    raw = reply((1.0, 1, "x", [1.0] * WIDTH, 1))
    raw[place] = encode_value(Dtype.STRING if place != 3 else Dtype.FLOAT32, "abcd" if place != 3 else 1.0)
    with pytest.raises(LayoutError, match="the view's type changed"):
        SELECTION.rows([raw], NOW_MS)


@pytest.mark.parametrize("place", [0, 1])
def test_bytes_after_a_values_end_are_refused(place):
    raw = reply((1.0, 1, "x", None, 1))
    raw[place] += b"\x00" * 11
    with pytest.raises(LayoutError, match="bytes after its end"):
        SELECTION.rows([raw], NOW_MS)


@pytest.mark.parametrize(
    ("features", "says"),
    [
        ({"one": ["FLOAT32"], "elsewhere": ["count"]}, "one entity at a time"),
        ({"two": ["nothing"]}, "expected one of \\['count', 'share'\\]"),
        ({"one": ["VECTOR"]}, "say its width"),
    ],
)
def test_what_cannot_be_read_is_refused_when_it_is_compiled(features, says):
    with pytest.raises(ValueError, match=says):
        Selection(PLANS, features, {})
