"""The statistics of the benchmark, on numbers whose answer is known."""

from __future__ import annotations

import numpy as np
import pytest

from tests.benchmarks.meter import Block
from tests.benchmarks.ratios import Ratio, percentiles, ratio
from tests.benchmarks.rounds import alternate, together


def test_a_ratio_is_of_medians_so_one_bad_block_changes_nothing() -> None:
    assert ratio([10.0, 10.0, 0.1], [5.0, 5.0, 5.0]).value == 2.0


def test_what_slows_both_arms_in_a_round_leaves_the_ratio_alone() -> None:
    weather = [1.0, 3.0, 0.2, 8.0, 2.0]
    found = ratio([2 * w for w in weather], weather)
    assert (found.value, found.low, found.high) == (2.0, 2.0, 2.0)


def test_the_interval_holds_the_truth_in_about_95_of_100_runs() -> None:
    rng = np.random.default_rng(3)
    held = 0
    for _ in range(100):
        found = ratio((3.0 * rng.lognormal(0, 0.1, 20)).tolist(), rng.lognormal(0, 0.1, 20).tolist())
        held += found.low <= 3.0 <= found.high
    assert held >= 88


def test_two_identical_arms_have_one_in_their_band_and_are_never_a_claim() -> None:
    rng = np.random.default_rng(4)
    band = ratio(rng.lognormal(0, 0.2, 30).tolist(), rng.lognormal(0, 0.2, 30).tolist())
    assert band.low < 1.0 < band.high
    assert not Ratio(1.3, band.high - 0.01, 1.6, 30).is_outside(band)
    assert Ratio(2.0, 1.8, 2.2, 30).is_outside(band)


def test_blocks_that_do_not_pair_are_refused() -> None:
    with pytest.raises(ValueError, match="2 and 1 blocks"):
        ratio([1.0, 2.0], [1.0])


def test_percentiles_are_p50_and_p99() -> None:
    assert percentiles([float(n) for n in range(101)]) == (50.0, 99.0)


def test_every_round_has_every_arm_once_in_changing_order_and_the_first_is_discarded() -> None:
    seen = []

    def run(task: str) -> Block:
        seen.append(task)
        return Block(task[0], 100, 1.0, 0.001, 0.0, 0.0)

    found = alternate(
        dict.fromkeys("abc", run), lambda arm, n: f"{arm}{n}", rounds=6, budget_s=60, seed=1, advance=lambda *_: None
    )
    rounds = [tuple(task[0] for task in seen[n : n + 3]) for n in range(0, len(seen), 3)]
    assert [len(found.blocks[arm]) for arm in "abc"] == [6, 6, 6]
    assert {frozenset(order) for order in rounds} == {frozenset("abc")}
    assert len(set(rounds)) > 1
    assert found.ratio("a", "b").value == 1.0


def test_processes_at_the_same_time_add_their_own_cpu_but_share_the_services() -> None:
    one, two = (Block("w", 100, wall, cpu, 0.01, 0.02) for wall, cpu in ((1.0, 0.1), (1.2, 0.3)))
    whole = together([one, two])
    assert (whole.events, whole.wall_s, whole.cpu_s, whole.store_cpu_s) == (200, 1.2, 0.4, 0.01)
    assert whole.all_cpu_us == pytest.approx(1e6 * (0.4 + 0.01 + 0.02) / 200)
