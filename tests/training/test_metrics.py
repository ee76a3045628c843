"""The metrics give the worked examples of algorithm.md 3.1, and what plain loops and scikit-learn give."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn import metrics as sklearn_metrics
from sklearn.calibration import calibration_curve

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


tables = st.integers(2, 6).flatmap(
    lambda n: st.lists(
        st.tuples(*[st.lists(st.integers(0, 3), min_size=n, max_size=n) for _ in range(2)]), min_size=1, max_size=8
    )
)


@given(labelled)
def test_auc_is_scikit_learns(rows):
    labels, scores, _ = zip(*rows, strict=True)
    if len(set(labels)) == 2:
        assert metrics.auc(labels, scores) == pytest.approx(sklearn_metrics.roc_auc_score(labels, scores))


@given(labelled)
def test_group_aucs_are_scikit_learns_group_by_group(rows):
    labels, scores, groups = map(np.array, zip(*rows, strict=True))
    found = metrics.group_aucs(labels, scores, groups)
    for name, each, mass in zip(*found, strict=True):
        part = groups == name
        assert mass == part.sum()
        if len(set(labels[part])) == 2:
            assert each == pytest.approx(sklearn_metrics.roc_auc_score(labels[part], scores[part]))
        else:
            assert math.isnan(each)


def untied(table):
    """Scores without ties, in the order our own rule gives equal ones, so that others rank them alike."""
    return -metrics.ranks(table).astype(float)


@given(tables, st.integers(1, 6))
def test_ndcg_is_scikit_learns_where_no_scores_are_tied(rows, k):
    labels, scores = (np.array(part) for part in zip(*rows, strict=True))
    gains, apart = 2.0**labels - 1, untied(scores)
    each = metrics.ndcgs(labels, scores, k)
    for row, gain, order in zip(each, gains, apart, strict=True):
        assert (
            (gain == 0).all()
            if math.isnan(row)
            else row == pytest.approx(sklearn_metrics.ndcg_score(gain[None], order[None], k=k))
        )


@given(tables)
def test_reciprocal_ranks_are_scikit_learns_where_one_is_wanted(rows):
    labels, scores = (np.array(part) for part in zip(*rows, strict=True))
    wanted = np.zeros_like(labels)
    wanted[np.arange(len(labels)), labels.argmax(axis=1)] = 1
    expected = sklearn_metrics.label_ranking_average_precision_score(wanted, untied(scores))
    assert metrics.mrr(wanted, scores) == pytest.approx(expected)


@given(tables, st.integers(1, 6))
def test_recall_is_scikit_learns_top_k_accuracy_where_one_is_wanted(rows, k):
    labels, scores = (np.array(part) for part in zip(*rows, strict=True))
    target, width = labels.argmax(axis=1), labels.shape[1]
    if width > 2 and k < width:
        expected = sklearn_metrics.top_k_accuracy_score(target, untied(scores), k=k, labels=range(width))
        assert metrics.recall_at_k(np.eye(width)[target], scores, k) == pytest.approx(expected)


@given(labelled)
def test_logloss_is_scikit_learns(rows):
    labels, scores, _ = zip(*rows, strict=True)
    probabilities = (np.array(scores) + 0.5) / 5
    expected = sklearn_metrics.log_loss(labels, probabilities, labels=[False, True])
    assert metrics.logloss(labels, probabilities) == pytest.approx(expected)


def test_ece_is_the_weighted_gap_of_scikit_learns_calibration_curve():
    rng = np.random.default_rng(0)
    forecasts = rng.random(1500)
    labels = rng.random(1500) < forecasts**1.5
    happened, forecast = calibration_curve(labels, forecasts, n_bins=15, strategy="quantile")
    assert metrics.ece(labels, forecasts) == pytest.approx(np.abs(happened - forecast).mean(), abs=1e-9)


@given(labelled, st.integers(0, 2**32 - 1))
def test_no_metric_depends_on_input_order(rows, seed):
    order = np.random.default_rng(seed).permutation(len(rows))
    labels, scores, groups = map(np.array, zip(*rows, strict=True))
    mixed = labels[order], scores[order], groups[order]
    assert metrics.gauc(labels, scores, groups) == pytest.approx(metrics.gauc(*mixed), nan_ok=True)
    assert metrics.ece(labels, scores / 4, 3) == pytest.approx(metrics.ece(mixed[0], mixed[1] / 4, 3))


def test_a_positive_that_is_no_candidate_is_missed():
    labels, scores, candidates = [[1, 0, 0]], [[9.0, 1.0, 2.0]], [[False, True, True]]
    assert metrics.recall_at_k(labels, scores, 3, candidates) == 0.0
    assert metrics.ndcg_at_k(labels, scores, 3, candidates) == 0.0
    assert metrics.mrr(labels, scores, candidates) == pytest.approx(1 / 3)


def test_a_candidate_of_the_lowest_score_stands_before_what_is_none():
    scores, candidates = np.full((1, 40), -np.inf), np.arange(40)[None] < 5
    assert sorted(metrics.ranks(scores, candidates)[0][:5]) == [1, 2, 3, 4, 5]


def test_calibration_is_told_for_each_field():
    found = metrics.ece_by_field([1, 0, 0, 0], [0.5, 0.5, 0.5, 0.0], ["de", "de", "en", "en"], bins=1)
    assert found == {"de": (0.0, 2), "en": (0.25, 2)}


def test_reach_tells_a_narrow_ranker_from_a_wide_one():
    scores = np.random.default_rng(0).random((400, 20))
    narrow = metrics.exposures(np.tile(scores[:1], (400, 1)), 3)
    wide = metrics.exposures(scores, 3)
    assert narrow.sum() == wide.sum() == 1200
    assert (metrics.coverage(narrow), metrics.coverage(wide)) == (0.15, 1.0)
    assert metrics.gini(narrow) == pytest.approx(0.85)
    assert metrics.gini(wide) < 0.15


@given(st.lists(st.integers(0, 9), min_size=1, max_size=12))
def test_gini_is_half_the_relative_mean_difference(shown):
    x = np.array(shown, float)
    if x.sum():
        expected = np.abs(x[:, None] - x).mean() / (2 * x.mean())
        assert metrics.gini(shown) == pytest.approx(expected)
