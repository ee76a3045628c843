"""The stamp of a write: guards compare as text exactly as they compare as numbers."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from features.row_scripts import stamp

GUARDS = st.tuples(st.integers(0, 2**64 - 1), st.integers(0, 2**64 - 1))


@given(GUARDS, GUARDS, st.integers(0, 2**32 - 1))
def test_the_first_40_digits_order_writes_as_their_guards_do(one, other, writer):
    first, second = stamp(one, writer, 9), stamp(other, writer, 0)
    assert (first[:40] > second[:40], first[:40] == second[:40]) == (one > other, one == other)


@given(GUARDS, st.integers(0, 2**32 - 1), st.integers(0, 10**10 - 1))
def test_every_stamp_is_sixty_digits(guard, writer, write):
    assert len(stamp(guard, writer, write)) == 60
    assert stamp(guard, writer, write).isdigit()


@pytest.mark.parametrize("guard", [(-1, 0), (0, -1), (2**64, 0)])
def test_a_guard_that_has_no_such_digits_is_refused(guard):
    with pytest.raises(ValueError, match="expected \\(epoch, offset\\)"):
        stamp(guard, 0, 0)
