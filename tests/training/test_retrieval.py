"""Ranks, means and intervals of retrieval, where the right answer is known."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from training.metrics import ranks
from training.retrieval import (
    centred,
    centred_apart,
    chance,
    cosines,
    mrr_difference,
    retrieval,
    scope_auroc,
    true_ranks,
)

VECTORS = np.random.default_rng(6).normal(size=(200, 3))
CLUSTERS = [f"user-{row % 40}" for row in range(200)]


@pytest.fixture
def rng():
    return np.random.default_rng(5)


def test_a_question_at_its_answer_is_ranked_first(rng):
    answers = rng.normal(size=(30, 8))
    truths = rng.integers(30, size=200)
    found = retrieval(true_ranks(cosines(answers[truths], answers), truths), CLUSTERS, seed=1)
    assert found.recall_at_1 == found.recall_at_3 == found.mrr == (1.0, 1.0, 1.0)


def test_random_scores_do_no_better_than_chance(rng):
    found = retrieval(true_ranks(rng.normal(size=(200, 20)), rng.integers(20, size=200)), CLUSTERS, seed=1)
    assert found.recall_at_3.low < chance(20).recall_at_3.mean < found.recall_at_3.high
    assert found.mrr.low < chance(20).mrr.mean < found.mrr.high


def test_chance_is_the_mean_over_all_places():
    found = ranks(np.arange(12.0)[None])[0]
    assert chance(12).mrr.mean == pytest.approx((1 / found).mean())
    assert chance(12).recall_at_1.mean == pytest.approx((found == 1).mean())


def test_a_common_offset_hides_the_answer_until_means_are_subtracted(rng):
    answers, truths = rng.normal(size=(30, 8)), rng.integers(30, size=200)
    asked, offset = answers[truths] + rng.normal(size=(200, 8)) * 0.3, 50 * rng.normal(size=8)
    raw = true_ranks(cosines(asked + offset, answers - offset), truths)
    found = true_ranks(cosines(centred_apart(asked + offset, CLUSTERS, 1), centred(answers - offset)), truths)
    assert (found == 1).mean() > 0.9
    assert (raw == 1).mean() < 0.5


@given(st.integers(0, 39), st.floats(-1e3, 1e3))
def test_nobody_is_centred_by_their_own_vectors(user, moved):
    own = np.array([cluster == f"user-{user}" for cluster in CLUSTERS])
    before, after = (centred_apart(v, CLUSTERS, 9) for v in (VECTORS, VECTORS + moved * own[:, None]))
    np.testing.assert_allclose(after[own] - before[own], moved, atol=1e-6)


def test_a_single_cluster_is_left_as_it_is():
    np.testing.assert_array_equal(centred_apart(VECTORS[:4], ["a"] * 4, 1), VECTORS[:4])


def test_intervals_resample_clusters_not_rows(rng):
    found = np.repeat(rng.integers(1, 4, size=10), 20)
    few = retrieval(found, np.repeat(np.arange(10), 20).astype(str).tolist(), seed=1).mrr
    many = retrieval(found, np.arange(200).astype(str).tolist(), seed=1).mrr
    assert few.high - few.low > 3 * (many.high - many.low)


def test_a_paired_difference_of_equals_is_exactly_nothing(rng):
    found = rng.integers(1, 9, size=200)
    assert mrr_difference(found, found, CLUSTERS, seed=1) == (0.0, 0.0, 0.0)


def test_scores_above_all_others_are_told_apart_and_equal_ones_are_not():
    assert scope_auroc([0.9, 0.8], [0.1, 0.2], seed=1).mean == 1.0
    assert scope_auroc([0.5, 0.5], [0.5, 0.5], seed=1).mean == 0.5
    with pytest.raises(ValueError, match="expected some of both"):
        scope_auroc([], [0.5], seed=1)
