"""Queries count for what they prove on held-out requests: nothing where they tell nothing."""

from dataclasses import replace

import pytest
import torch

from tests.training import checkerboard
from training import cycle
from training.checkpoint import Checkpoint, shape_for
from training.qerec import create
from training.query_trust import LEVELS, prove, shrunk
from training.trainer import Schedule, fit


def fitted(tells, requests=600, before=1.0):
    dataset, query, need = checkerboard.dataset(requests, tells=tells)
    vectors, families = checkerboard.vectors(), tuple(checkerboard.FAMILIES.values())
    model = create(shape_for(6, 2, vectors.text.shape[1], vectors.state.shape[1]), seed=0)
    model.trust().fill_(before)
    checkpoint = Checkpoint(model, checkerboard.INTENTS, families)
    examples = cycle.examples(checkpoint, dataset, (vectors.text, vectors.state), query, need >= 0)
    return model, fit(model, examples, Schedule(epochs=8), seed=0), examples


def test_queries_that_tell_the_need_are_trusted():
    model, told, _ = fitted("query")
    assert told["query_trust"] == pytest.approx(float(model.trust()))
    assert told["query_trust"] > 0.7


def test_queries_that_tell_nothing_are_not():
    _, told, _ = fitted("nothing")
    assert told["query_trust"] < 0.1


def test_queries_that_are_not_there_are_not():
    model, _, examples = fitted("query", requests=64)
    empty = type(examples.features)(*examples.features.tensors()[:5], torch.zeros(64))
    assert prove(model, model.trust(), replace(examples, features=empty), torch.arange(64)) == 0.0
    assert float(model.trust()) == 0.0


def test_every_fit_lets_queries_prove_themselves_anew():
    assert fitted("query", before=0.0)[1] == fitted("query")[1]


def test_without_trust_a_query_is_no_query():
    model, _, examples = fitted("query", requests=64)
    features = examples.features.take(torch.arange(8))
    null = type(features)(*features.tensors()[:5], torch.zeros(8))
    model.eval()
    model.trust().fill_(0.5)
    assert not torch.allclose(model(features, examples.intents), model(null, examples.intents))
    model.trust().fill_(0.0)
    torch.testing.assert_close(model(features, examples.intents), model(null, examples.intents))


@pytest.mark.parametrize("level", LEVELS)
def test_a_gain_counts_the_less_the_less_sure_it_is(level):
    parts = [shrunk(level, gain, error=0.1) for gain in (-0.2, 0.1, 0.2, 0.4, 40.0)]
    assert parts[:2] == [0.0, 0.0]
    assert parts == sorted(parts)
    assert parts[-1] == pytest.approx(level, abs=1e-4)
