"""Ratios of tails and of means over sessions, on numbers whose answer is known."""

from __future__ import annotations

import numpy as np
import pytest

from tests.benchmarks.ndcg_kept import kept_share, sample
from tests.benchmarks.refreshing import Moment
from tests.benchmarks.tails import tail_ratio


def test_the_tail_is_of_all_samples_and_not_of_one_block():
    blocks = [np.arange(50.0), np.arange(50.0, 100.0)]
    assert tail_ratio([2 * block for block in blocks], blocks, 0.99).value == 2.0


def test_two_sides_alike_have_one_in_their_interval():
    rng = np.random.default_rng(1)
    one, other = ([rng.exponential(size=300) for _ in range(8)] for _ in range(2))
    found = tail_ratio(one, other)
    assert found.low < 1.0 < found.high


def test_blocks_that_do_not_pair_are_refused():
    with pytest.raises(ValueError, match="1 and 0 blocks"):
        tail_ratio([np.ones(3)], [])


def test_what_is_kept_is_of_means_and_sessions_are_drawn_whole():
    sessions = np.repeat(np.arange(40), 5)
    fresh = np.random.default_rng(2).uniform(0.5, 1.0, 200)
    kept = kept_share(0.9 * fresh, fresh, sessions)
    assert kept.value == pytest.approx(0.9)
    assert (kept.low, kept.high) == (pytest.approx(0.9), pytest.approx(0.9))
    assert kept.rounds == 40


def test_sampled_sessions_are_whole_and_ask_for_no_more_prompts_than_allowed():
    moments = [
        Moment(session, "track", None, frozenset(), f"p{session}-{place}", None)
        for session in range(20) for place in range(3)
    ]  # fmt: skip
    taken = sample(moments, 10, seed=1)
    assert len(taken) == 9
    assert all(sum(m.session == one.session for m in taken) == 3 for one in taken)
