import numpy as np
import pytest

from features.adapter import Adapter
from tests.training import checkerboard
from training import cycle, rgcl
from training.rgcl import Reward
from training.trainer import Schedule


def problem(*, is_turned=True, clicks=300):
    """States whose needs stand in another basis than the intents' keys, so that zero-shot cosine fails."""
    rng = np.random.default_rng(0)
    vectors = checkerboard.vectors()
    keys = vectors.state - vectors.state_mean
    clicked = rng.integers(0, 6, clicks)
    turn = np.linalg.qr(rng.standard_normal((24, 24)))[0] if is_turned else np.eye(24)
    states = (keys[clicked] @ turn + 0.2 * rng.standard_normal((clicks, 24)) + 5.0).astype(np.float32)
    reward = Reward(
        rows=np.arange(clicks),
        clicked=clicked,
        gain=np.ones(clicks, np.float32),
        teacher=np.full((clicks, 6), 1 / 6, np.float32),
        eligible=np.ones((clicks, 6), np.bool_),
        weight=np.ones(clicks, np.float32),
    )
    return states, reward, vectors, Adapter.identity(states.mean(0), rank=32)


def test_the_adapter_turns_states_towards_the_clicked_intents():
    states, reward, vectors, previous = problem()
    sharp = Reward(**{**vars(reward), "teacher": np.eye(6, dtype=np.float32)[reward.clicked]})
    told = rgcl.fit_adapter(states, sharp, vectors, previous, seed=0)
    assert told.improved
    assert told.recall_after > max(0.8, told.recall_before + 0.2)


def test_random_clicks_do_not_replace_an_adapter_that_works():
    states, reward, vectors, previous = problem(is_turned=False)
    told = rgcl.fit_adapter(states, reward, vectors, previous, seed=0)
    assert (told.improved, told.adapter, told.recall_after) == (False, previous, told.recall_before)


def test_too_few_clicks_change_nothing():
    states, reward, vectors, previous = problem(clicks=10)
    assert rgcl.fit_adapter(states, reward, vectors, previous, seed=0).adapter is previous


def test_equal_seeds_give_equal_adapters():
    states, reward, vectors, previous = problem()
    ids = {rgcl.fit_adapter(states, reward, vectors, previous, seed=1, epochs=3).adapter.adapter_id for _ in range(2)}
    assert len(ids) == 1


def test_the_gain_is_positive_where_queries_tell_the_need():
    dataset, query, need = checkerboard.dataset(tells="query")
    vectors = checkerboard.vectors()
    has_query = need >= 0
    checkpoint = cycle.train(
        dataset, vectors, checkerboard.FAMILIES, query, has_query, seed=0, schedule=Schedule(epochs=5)
    )
    reward = rgcl.ranking_reward(checkpoint, dataset, vectors, query, has_query)
    assert reward.gain.mean() > 0.5
    assert len(reward.rows) == int(dataset.has_click.sum())
    assert reward.teacher.sum(1) == pytest.approx(1.0, abs=1e-4)
    assert ((reward.confidence >= 0.2) & (reward.confidence <= 0.9)).all()
    checkpoint.model.trust().fill_(0.0)
    distrusting = rgcl.ranking_reward(checkpoint, dataset, vectors, query, has_query)
    assert distrusting.gain == pytest.approx(reward.gain), "what is served is not what is rewarded"


def test_requests_without_a_query_earn_nothing():
    dataset, query, need = checkerboard.dataset(60)
    vectors = checkerboard.vectors()
    checkpoint = cycle.train(
        dataset, vectors, checkerboard.FAMILIES, query, need < 0, seed=0, schedule=Schedule(epochs=1)
    )
    assert len(rgcl.ranking_reward(checkpoint, dataset, vectors, query, need < 0).rows) == 0
