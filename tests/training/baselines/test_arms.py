"""Every arm keeps the same contract, and learns the checkerboard where the answer is known.

The two-tower arm does not within these few steps: its towers meet in a dot product alone.
"""

from dataclasses import replace
from functools import cache

import numpy as np
import pytest
import torch

from tests.training import checkerboard
from training.baselines.neural import Neural
from training.baselines.zero_shot import ZeroShot
from training.contest.arms import BY_KEY
from training.scoring import Scorer
from training.trial import Trial

LEARNED = ("popularity", "lr", "fm", "lightgbm", "dcnv2", "din", "lightgbm_cosine")
NEURAL = ("fm", "two_tower", "dcnv2", "din")
SMALL = {"lr": {"strength": 3.0}}
QUICK = {"rate": 1e-2, "decay": 0.01, "dropout": 0.0}


def trial(requests=700, *, tells="feature", seed=1):
    dataset, query, need = checkerboard.dataset(requests, tells=tells, seed=seed)
    vectors = checkerboard.vectors()
    families = tuple(checkerboard.FAMILIES.values())
    known = np.ones(6, np.bool_)
    return Trial(dataset, query, np.ones(requests, np.bool_), vectors.text, vectors.state, families, known), need


def arm(key):
    """An arm as it learns this small world: fast, and with more patience than a real log allows."""
    if key in (*NEURAL, "qerec", "full"):
        one = BY_KEY[key].arm(QUICK)
        one._schedule = replace(one._schedule, patience=12, batch=32)
        return one
    return BY_KEY[key].arm({"least": 5, "rounds": 60} if key.startswith("lightgbm") else SMALL.get(key, {}))


@cache
def learned(key):
    """An arm fitted once where a feature tells the need."""
    one = arm(key)
    one.fit(trial()[0], seed=1)
    return one


@pytest.mark.parametrize("key", LEARNED)
def test_a_feature_that_decides_the_need_is_learned(key):
    test, need = trial(200, seed=2)
    assert checkerboard.hit_rate(learned(key).scores(test), need) > 0.85


@pytest.mark.parametrize("key", LEARNED)
def test_requests_are_scored_one_by_one(key):
    test, _ = trial(40, seed=2)
    whole = learned(key).scores(test)
    part = learned(key).scores(test.take(np.array([7, 3])))
    np.testing.assert_allclose(part, whole[[7, 3]], atol=1e-4)


@pytest.mark.parametrize("key", NEURAL)
def test_permuting_intents_permutes_scores(key):
    test, _ = trial(30, seed=2)
    model, order = learned(key).model, torch.tensor([3, 0, 5, 1, 4, 2])
    plain = model(test.examples.features, test.intents)
    permuted = model(test.examples.features, tuple(part[order] for part in test.intents))
    torch.testing.assert_close(permuted, plain[:, order], atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("key", ["lightgbm", "din"])
def test_equal_seeds_give_equal_scores(key):
    told, _ = trial(200)
    scores = []
    for _ in range(2):
        one = arm(key)
        one.fit(told, seed=4)
        scores.append(one.scores(told))
    assert np.array_equal(*scores)


def test_only_the_arms_that_are_given_queries_use_them():
    test, _ = trial(60, seed=2)
    other = replace(test, query=test.query[::-1].copy())
    for key in LEARNED:
        one = learned(key)
        uses = not np.allclose(one.scores(test), one.scores(other), atol=1e-6)
        assert uses == (key == "lightgbm_cosine"), key


@pytest.mark.parametrize("key", ["lightgbm_cosine", "full"])
def test_a_query_that_decides_the_need_is_learned(key):
    one = arm(key)
    one.fit(trial(700, tells="query")[0], seed=1)
    test, need = trial(200, tells="query", seed=2)
    assert checkerboard.hit_rate(one.scores(test), need) > 0.8


def test_the_zero_shot_cosine_finds_what_the_query_copies():
    test, need = trial(200, tells="query", seed=2)
    assert checkerboard.hit_rate(ZeroShot().scores(test), need) > 0.9
    blank = replace(test, has_query=np.zeros(len(test), np.bool_))
    assert not ZeroShot().scores(blank).any()


def test_an_arm_that_was_never_fitted_says_so():
    def build(*_told) -> Scorer:
        raise AssertionError

    with pytest.raises(ValueError, match="never fitted; expected fit first"):
        Neural(build).scores(trial(10)[0])
