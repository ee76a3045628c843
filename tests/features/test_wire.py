"""Feast's byte layout: laws here, equality with Feast's own encoder in test_definitions."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from features.views import Dtype
from features.wire import (
    LayoutError,
    decode_time,
    decode_value,
    encode_time,
    encode_value,
    entity_key,
    read_varint,
    varint,
)

FLOATS = st.floats(width=32, allow_nan=False, allow_infinity=False)


@given(st.integers(-(2**63), 2**63 - 1))
def test_an_int64_comes_back(number):
    assert decode_value(Dtype.INT64, encode_value(Dtype.INT64, number)) == number


@given(FLOATS)
def test_a_float32_comes_back(number):
    assert decode_value(Dtype.FLOAT32, encode_value(Dtype.FLOAT32, number)) == number


@given(st.text(max_size=200))
def test_a_text_comes_back(text):
    assert decode_value(Dtype.STRING, encode_value(Dtype.STRING, text)) == text


@given(st.lists(FLOATS, max_size=200))
def test_a_vector_comes_back_as_float32(numbers):
    found = decode_value(Dtype.VECTOR, encode_value(Dtype.VECTOR, np.array(numbers, np.float32)))
    assert found.dtype == np.float32
    assert found.tolist() == numbers


@given(st.integers(0, 2**43))
def test_a_time_comes_back_to_the_millisecond(at_ms):
    assert decode_time(encode_time(at_ms)) == at_ms


@given(st.integers(0, 2**64 - 1))
def test_a_varint_comes_back_and_tells_its_end(number):
    assert read_varint(varint(number) + b"\x99", 0) == (number, len(varint(number)))


@pytest.mark.parametrize("dtype", list(Dtype))
def test_none_is_feasts_null(dtype):
    assert encode_value(dtype, None) == b""
    assert decode_value(dtype, b"") is None


@pytest.mark.parametrize(
    ("dtype", "value"),
    [
        (Dtype.FLOAT32, float("nan")),
        (Dtype.FLOAT32, 1e39),
        (Dtype.FLOAT32, "x"),
        (Dtype.INT64, 2**63),
        (Dtype.INT64, 1.5),
        (Dtype.INT64, True),
        (Dtype.INT64, "7"),
        (Dtype.STRING, 7),
        (Dtype.STRING, "\ud800"),
        (Dtype.VECTOR, [[1.0]]),
        (Dtype.VECTOR, [1.0, float("inf")]),
        (Dtype.VECTOR, "x"),
    ],
)
def test_a_value_of_another_type_is_refused(dtype, value):
    with pytest.raises(LayoutError):
        encode_value(dtype, value)


def test_bytes_of_another_type_are_refused_with_advice():
    with pytest.raises(LayoutError, match="not a float32: the view's type changed"):
        decode_value(Dtype.FLOAT32, encode_value(Dtype.STRING, "x"))


def test_a_cut_off_varint_is_refused():
    with pytest.raises(LayoutError, match="no whole varint"):
        read_varint(b"\xff\xff", 0)


@given(st.tuples(st.text(max_size=9), st.text(max_size=9)), st.tuples(st.text(max_size=9), st.text(max_size=9)))
def test_two_entities_never_share_a_key(one, other):
    keys = entity_key("shopper_id", one[0], one[1]), entity_key("shopper_id", other[0], other[1])
    assert (keys[0] == keys[1]) == (one == other)
