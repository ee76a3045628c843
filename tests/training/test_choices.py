"""What is drawn is what is weighed, and the share turns it from telling all to telling nothing."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from training.choices import NO_NEED, Choices

OWN = np.array([[3.0, 0.0, 0.0], [1.0, 0.0, 2.0], [0.0, 0.0, 2.0]])
STRAY = np.array([1.0, 1.0, 2.0])


@pytest.mark.parametrize("share", [0.0, 0.4, 1.0])
@pytest.mark.parametrize("need", [0, 1, 2, NO_NEED])
def test_draws_are_as_frequent_as_they_are_weighed(share, need):
    choices, rng = Choices("abc", OWN, STRAY, share), np.random.default_rng(0)
    drawn = [choices.draw(need, rng) for _ in range(3000)]
    for option in "abc":
        assert drawn.count(option) / 3000 == pytest.approx(choices.likelihood(option)[need], abs=0.04)


@given(st.floats(0, 1))
def test_every_need_chooses_something_and_none_strays(share):
    chances = np.array([Choices("abc", OWN, STRAY, share).likelihood(option) for option in "abc"])
    assert chances.sum(axis=0) == pytest.approx(np.ones(4))
    assert chances[:, 1] == pytest.approx(STRAY / 4)
    assert chances[:, NO_NEED] == pytest.approx(STRAY / 4)


def test_at_a_share_of_0_nothing_tells_of_the_need():
    for option in "abc":
        assert len({*Choices("abc", OWN, STRAY, 0.0).likelihood(option)}) == 1


@settings(max_examples=50)
@given(st.integers(0, 2**32 - 1), st.integers(-1, 2))
def test_a_draw_takes_the_same_chance_at_every_share(seed, need):
    after = []
    for share in (0.0, 0.5, 1.0):
        rng = np.random.default_rng(seed)
        Choices("abc", OWN, STRAY, share).draw(need, rng)
        after.append(rng.random())
    assert len(set(after)) == 1


def test_choices_without_weight_are_refused():
    with pytest.raises(ValueError, match="expected a positive one"):
        Choices("abc", OWN, np.zeros(3))
