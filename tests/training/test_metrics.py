"""The metrics give the worked examples of algorithm.md 3.1, and what plain loops and scikit-style definitions give."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from training import metrics


def slow_auc(labels, scores):
    pairs = [
        (p > n) + 0.5 * (p == n)
        for p, y in zip(scores, labels, strict=False)
        if y
        for n, z in zip(scores, labels, strict=False)
        if not z
    ]
    return sum(pairs) / len(pairs) if pairs else math.nan


def test_gauc_of_the_worked_example_is_0_6():
    labels, scores = [1, 0, 0, 0, 1, 0, 0], [0.9, 0.8, 0.1, 0.6, 0.4, 0.5, 0.5]
    found = metrics.gauc(labels, scores, list("aaabbcc"))
    assert found.value == pytest.approx(0.6)
    assert (found.groups, found.skipped_share) == (2, pytest.approx(1 / 3))


def test_relative_error_reduction_of_the_worked_example_is_3_52_percent():
    assert 100 * metrics.relative_error_reduction(0.9659, 0.9671) == pytest.approx(3.52, abs=0.005)


labelled = st.lists(st.tuples(st.booleans(), st.integers(0, 4), st.integers(0, 3)), min_size=1, max_size=40)


@given(labelled)
def test_auc_counts_ordered_pairs_and_half_ties(rows):
    labels, scores, _ = zip(*rows, strict=False)
    assert metrics.auc(labels, scores) == pytest.approx(slow_auc(labels, scores), nan_ok=True)


@given(labelled)
def test_gauc_is_the_impression_weighted_mean_over_mixed_groups(rows):
    groups = {g: [(y, s) for y, s, h in rows if h == g] for _, _, g in rows}
    each = [(len(part), slow_auc(*zip(*part, strict=False))) for part in groups.values()]
    valid = [(n, a) for n, a in each if not math.isnan(a)]
    expected = sum(n * a for n, a in valid) / sum(n for n, _ in valid) if valid else math.nan
    assert metrics.gauc(*zip(*rows, strict=False)).value == pytest.approx(expected, nan_ok=True)


def test_equal_scores_are_not_ordered_by_their_place():
    ranks = metrics.ranks(np.zeros((1, 50)))[0]
    assert sorted(ranks) == list(range(1, 51))
    assert not np.array_equal(ranks, np.arange(1, 51))
    assert not np.array_equal(ranks, np.arange(50, 0, -1))


def test_what_is_no_candidate_ranks_last():
    assert metrics.ranks([[9.0, 1.0, 2.0]], [[False, True, True]]).tolist() == [[3, 2, 1]]


def test_requests_without_a_positive_do_not_enter_ranking_metrics():
    labels, scores = [[0, 1], [0, 0]], [[1.0, 2.0], [1.0, 2.0]]
    assert metrics.recall_at_k(labels, scores, 1) == metrics.mrr(labels, scores) == 1.0
    assert metrics.ndcg_at_k(labels, scores, 2) == 1.0


def test_a_perfectly_calibrated_forecast_has_no_calibration_error():
    labels = [1] * 20 + [0] * 80
    assert metrics.ece(labels, [0.2] * 100, bins=1) == pytest.approx(0.0)
    assert metrics.ece([1, 1, 0, 0], [1, 1, 0, 0]) == 0.0


def test_logloss_stays_finite_when_a_certainty_is_wrong():
    assert metrics.logloss([1], [0.0]) == pytest.approx(-math.log(1e-7))


def test_inverse_propensity_recovers_the_value_of_another_policy():
    rng = np.random.default_rng(0)
    shown_first = rng.random(200_000) < 0.1
    rewards = rng.random(200_000) < np.where(shown_first, 0.5, 0.2)
    weights = np.where(shown_first, 0.9 / 0.1, 0.1 / 0.9)
    assert metrics.ips(rewards, weights) == pytest.approx(0.47, abs=0.01)
    assert metrics.snips(rewards, weights) == pytest.approx(0.47, abs=0.01)
    assert metrics.effective_sample_size(weights) < 200_000


def test_bootstrap_covers_a_known_mean_and_respects_clusters():
    rng = np.random.default_rng(1)
    user_effects = rng.normal(0.5, 1.0, 200)
    deltas, users = np.repeat(user_effects, 10), np.repeat(np.arange(200), 10)
    clustered = metrics.paired_cluster_bootstrap(deltas, users, seed=3)
    naive = metrics.paired_cluster_bootstrap(deltas, np.arange(2000), seed=3)
    assert clustered.low < 0.5 < clustered.high
    assert clustered.high - clustered.low > 2.5 * (naive.high - naive.low)


def test_bootstrap_is_seeded_and_refuses_nothing():
    deltas, users = [0.1, -0.2, 0.3], ["a", "b", "b"]
    assert metrics.paired_cluster_bootstrap(deltas, users, seed=5) == metrics.paired_cluster_bootstrap(
        deltas, users, seed=5
    )
    with pytest.raises(ValueError, match="no paired differences"):
        metrics.paired_cluster_bootstrap([], [])
