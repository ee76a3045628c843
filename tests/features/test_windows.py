"""Laws of event time."""

import math
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from features.windows import (
    DAY_MS,
    HALF_LIVES_S,
    MINUTE_S,
    TILINGS,
    Tally,
    add_to_tiles,
    age_s,
    count_in_tiles,
    decayed_count,
    hour_angle,
    is_new_session,
)

TIMES_MS = st.integers(1, 10**12)


def test_a_count_without_half_life_is_refused():
    with pytest.raises(ValueError, match="half_life_s is 0"):
        decayed_count(1.0, 1.0, 0)


@given(st.floats(0, 1e6), st.floats(0, 1e5), st.floats(0, 1e5))
def test_decaying_in_two_steps_is_decaying_in_one(count, first_s, second_s):
    twice = decayed_count(decayed_count(count, first_s, 600), second_s, 600)
    assert math.isclose(twice, decayed_count(count, first_s + second_s, 600), rel_tol=1e-9, abs_tol=1e-300)


@given(st.lists(st.integers(1, 10**8), min_size=1, max_size=20), st.randoms())
def test_a_decayed_count_does_not_depend_on_the_order_of_arrival(times_ms, random):
    shuffled = random.sample(times_ms, len(times_ms))
    totals = []
    for arrived in (times_ms, shuffled):
        tally = Tally.first(arrived[0])
        for at_ms in arrived[1:]:
            tally = tally.plus(at_ms)
        assert tally.last_ms == max(times_ms)
        totals.append(tally.minute)
    newest_ms = max(times_ms)
    oracle = sum(2 ** (-(newest_ms - at_ms) / 1000 / MINUTE_S) for at_ms in times_ms)
    assert totals == pytest.approx([oracle, oracle], rel=1e-9)


@given(TIMES_MS, TIMES_MS)
def test_an_age_is_never_negative_and_never_over_its_cap(at_ms, now_ms):
    assert 0 <= age_s(at_ms, now_ms, cap_s=100) <= 100


@given(TIMES_MS)
def test_the_hour_repeats_daily_and_lies_on_the_circle(now_ms):
    sine, cosine = hour_angle(now_ms)
    assert hour_angle(now_ms + DAY_MS) == (sine, cosine)
    assert math.isclose(sine**2 + cosine**2, 1)


def test_a_session_ends_only_after_its_gap():
    assert not is_new_session(1000, 1000 + 30, 30)
    assert is_new_session(1000, 1000 + 31, 30)
    assert not is_new_session(1000, 500, 30)


@given(st.lists(st.integers(0, 10 * DAY_MS), max_size=30), st.randoms(), st.integers(0, 3 * DAY_MS))
def test_tiles_hold_the_newest_of_each_window_in_any_order_of_arrival(times_ms, random, later_ms):
    windows, shuffled = ([], [], [], []), ([], [], [], [])
    for at_ms, other_ms in zip(times_ms, random.sample(times_ms, len(times_ms)), strict=True):
        add_to_tiles(windows, at_ms)
        add_to_tiles(shuffled, other_ms)
    assert windows == shuffled
    newest_ms = max(times_ms, default=0)
    for tiles, tiling in zip(windows, TILINGS.values(), strict=True):
        in_tile = Counter(at_ms // tiling.width_ms for at_ms in times_ms)
        oldest = newest_ms // tiling.width_ms - tiling.kept
        assert dict(zip(tiles[::2], tiles[1::2], strict=True)) == {b: n for b, n in in_tile.items() if b > oldest}
        oldest = (newest_ms + later_ms) // tiling.width_ms - tiling.kept
        assert count_in_tiles(tiles, newest_ms + later_ms, tiling) == sum(n for b, n in in_tile.items() if b > oldest)


def test_a_window_is_as_long_as_its_tiles_together():
    assert list(TILINGS) == list(HALF_LIVES_S)
    assert all(window_s * 1000 == tiling.width_ms * tiling.kept for window_s, tiling in TILINGS.items())


def test_a_half_life_that_is_not_kept_is_refused_with_those_that_are():
    with pytest.raises(ValueError, match="a half-life of 600 s is kept: ask for one of"):
        Tally.first(0).count(600, 0)
