import numpy as np
import pytest

from features.vectors import IntentVectors
from tests.training import checkerboard
from tests.training.checkerboard import FAMILIES, INTENTS, hit_rate
from training import cycle
from training.checkpoint import Checkpoint, CheckpointMismatch
from training.qerec import create


def trained(tells, **settings):
    dataset, query, need = checkerboard.dataset(tells=tells)
    vectors = checkerboard.vectors()
    return cycle.train(dataset, vectors, FAMILIES, query, need >= 0, seed=0, **settings), vectors


@pytest.fixture(scope="module")
def by_query():
    return trained("query")


def test_a_feature_that_decides_the_need_is_learned():
    checkpoint, vectors = trained("feature")
    dataset, query, need = checkerboard.dataset(200, tells="feature", seed=2)
    assert hit_rate(cycle.scores(checkpoint, dataset, vectors, query, need >= 0), need) > 0.9


def test_a_query_that_decides_the_need_is_learned_and_swapping_queries_hurts(by_query):
    checkpoint, vectors = by_query
    dataset, query, need = checkerboard.dataset(200, tells="query", seed=2)
    assert hit_rate(cycle.scores(checkpoint, dataset, vectors, query, need >= 0), need) > 0.9
    swapped = np.roll(query, 1, axis=0)
    assert hit_rate(cycle.scores(checkpoint, dataset, vectors, swapped, need >= 0), need) < 0.4


def test_without_queries_the_ranker_still_answers_but_no_better_than_chance(by_query):
    checkpoint, vectors = by_query
    dataset, query, need = checkerboard.dataset(200, tells="query", seed=2)
    logits = cycle.scores(checkpoint, dataset, vectors, query, need < 0)
    assert np.isfinite(logits).all()
    assert hit_rate(logits, need) < 0.4


def test_nothing_is_learned_where_nothing_tells_the_need():
    checkpoint, vectors = trained("nothing")
    dataset, query, need = checkerboard.dataset(200, tells="nothing", seed=2)
    assert hit_rate(cycle.scores(checkpoint, dataset, vectors, query, need >= 0), need) < 0.35


def test_a_warm_start_keeps_what_was_learned(by_query):
    checkpoint, vectors = by_query
    dataset, query, need = checkerboard.dataset(100, tells="query", seed=3)
    warm = cycle.train(dataset, vectors, FAMILIES, query, need >= 0, seed=1, warm_start=checkpoint)
    assert hit_rate(cycle.scores(warm, dataset, vectors, query, need >= 0), need) > 0.9


def test_a_warm_start_takes_id_rows_by_name(by_query):
    checkpoint, _ = by_query
    ids = (*reversed(INTENTS[1:]), "brand_new")
    warm = Checkpoint(create(checkpoint.model.shape, seed=9), ids, tuple(FAMILIES.values()))
    cycle._inherit(warm, checkpoint)
    before, after = (c.model.tower.ids.weight.detach().numpy() for c in (checkpoint, warm))
    np.testing.assert_array_equal(after, before[[0, 6, 5, 4, 3, 2, 0]])


def test_a_checkpoint_of_other_widths_is_refused(by_query):
    checkpoint, vectors = by_query
    dataset, query, need = checkerboard.dataset(50)
    wider = IntentVectors(vectors.ids, vectors.text, np.hstack([vectors.state, vectors.state]))
    with pytest.raises(CheckpointMismatch, match="train cold"):
        cycle.train(dataset, wider, FAMILIES, np.hstack([query, query]), need >= 0, seed=0, warm_start=checkpoint)


def test_an_intent_without_vectors_is_named():
    vectors = checkerboard.vectors()
    lacking = IntentVectors(vectors.ids[1:], vectors.text[1:], vectors.state[1:])
    with pytest.raises(ValueError, match="no vectors for \\['intent_0'\\]"):
        cycle.aligned(lacking, INTENTS)


def test_a_checkpoint_scores_the_same_after_saving_and_loading(by_query, tmp_path):
    checkpoint, vectors = by_query
    dataset, query, need = checkerboard.dataset(20, tells="query")
    checkpoint.save(tmp_path / "checkpoint.safetensors")
    again = Checkpoint.load(tmp_path / "checkpoint.safetensors")
    assert (again.intent_ids, again.metrics) == (INTENTS, checkpoint.metrics)
    np.testing.assert_array_equal(
        cycle.scores(again, dataset, vectors, query, need >= 0),
        cycle.scores(checkpoint, dataset, vectors, query, need >= 0),
    )
