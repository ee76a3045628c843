"""Intervals cover what they should, respect users and seeds, and stay quick."""

import numpy as np
import pytest

from training import metrics
from training.intervals import hierarchical_bootstrap, paired_cluster_bootstrap


def width(interval):
    return interval.high - interval.low


def test_bootstrap_covers_a_known_mean_and_respects_clusters():
    rng = np.random.default_rng(1)
    user_effects = rng.normal(0.5, 1.0, 200)
    deltas, users = np.repeat(user_effects, 10), np.repeat(np.arange(200), 10)
    clustered = paired_cluster_bootstrap(deltas, users, seed=3)
    naive = paired_cluster_bootstrap(deltas, np.arange(2000), seed=3)
    assert clustered.low < 0.5 < clustered.high
    assert width(clustered) > 2.5 * width(naive)


def test_bootstrap_is_seeded_and_refuses_nothing():
    deltas, users = [0.1, -0.2, 0.3], ["a", "b", "b"]
    assert paired_cluster_bootstrap(deltas, users, seed=5) == paired_cluster_bootstrap(deltas, users, seed=5)
    with pytest.raises(ValueError, match="no paired differences"):
        paired_cluster_bootstrap([], [])
    with pytest.raises(ValueError, match="no paired differences"):
        paired_cluster_bootstrap([np.nan], ["a"])


def test_its_width_is_that_of_the_normal_law():
    rng = np.random.default_rng(2)
    deltas = rng.normal(0.0, 1.0, 2000)
    found = paired_cluster_bootstrap(deltas, np.arange(2000), seed=0)
    assert width(found) == pytest.approx(2 * 1.96 / np.sqrt(2000), rel=0.1)


def test_it_covers_in_nineteen_of_twenty_worlds():
    rng, covered = np.random.default_rng(3), 0
    for _ in range(200):
        effects = rng.normal(0.2, 1.0, 60)
        found = paired_cluster_bootstrap(np.repeat(effects, 3), np.repeat(np.arange(60), 3), replicates=400, seed=1)
        covered += found.low < 0.2 < found.high
    assert 0.89 <= covered / 200 <= 0.99


def test_seeds_that_differ_widen_the_interval():
    rng = np.random.default_rng(4)
    seeds, users = np.repeat(np.arange(5), 400), np.tile(np.arange(400), 5)
    same = rng.normal(0.1, 1.0, 2000)
    apart = same + np.array([-0.5, -0.25, 0.0, 0.25, 0.5])[seeds]
    assert width(hierarchical_bootstrap(apart, users, seeds)) > 2 * width(hierarchical_bootstrap(same, users, seeds))
    assert width(paired_cluster_bootstrap(apart, users)) < 1.5 * width(paired_cluster_bootstrap(same, users))


def test_it_is_what_a_plain_loop_gives():
    rng = np.random.default_rng(5)
    deltas, users, seeds = rng.normal(size=90), rng.integers(0, 12, 90), rng.integers(0, 3, 90)
    weights = rng.random(90)
    means = []
    for _ in range(3000):
        drawn_users = np.bincount(rng.integers(12, size=12), minlength=12)
        drawn_seeds = np.bincount(rng.integers(3, size=3), minlength=3)
        w = weights * drawn_users[users] * drawn_seeds[seeds]
        means.append(w @ deltas / w.sum())
    found = hierarchical_bootstrap(deltas, users, seeds, weights=weights)
    assert found.mean == pytest.approx(np.average(deltas, weights=weights))
    assert found[1:] == pytest.approx(np.quantile(means, [0.025, 0.975]), abs=0.05)


def test_the_gauc_difference_is_the_weighted_mean_of_group_differences():
    rng = np.random.default_rng(6)
    labels, users = rng.random(600) < 0.3, rng.integers(0, 80, 600)
    before, after = rng.random(600), rng.random(600) + 0.3 * labels
    old, new = (metrics.group_aucs(labels, scores, users) for scores in (before, after))
    found = paired_cluster_bootstrap(new.aucs - old.aucs, new.groups, weights=new.weights)
    expected = metrics.gauc(labels, after, users).value - metrics.gauc(labels, before, users).value
    assert found.mean == pytest.approx(expected)
    assert found.low < expected < found.high


def test_many_users_are_drawn_in_bounded_memory():
    deltas = np.random.default_rng(7).normal(0.01, 1.0, 100_000)
    found = paired_cluster_bootstrap(deltas, np.arange(100_000), replicates=100)
    assert width(found) == pytest.approx(2 * 1.96 / np.sqrt(100_000), rel=0.3)
