import pytest
import torch

from tests.training import checkerboard
from training import cycle
from training.checkpoint import Checkpoint, shape_for
from training.qerec import create
from training.trainer import Schedule, evaluate, fit

QUICK = Schedule(epochs=2)


def problem(requests=64, seed=0):
    dataset, query, need = checkerboard.dataset(requests)
    vectors = checkerboard.vectors()
    families = tuple(checkerboard.FAMILIES.values())
    model = create(shape_for(6, 2, vectors.text.shape[1], vectors.state.shape[1]), seed)
    checkpoint = Checkpoint(model, checkerboard.INTENTS, families)
    return model, cycle.examples(checkpoint, dataset, (vectors.text, vectors.state), query, need >= 0)


def test_equal_seeds_train_to_equal_weights():
    weights = []
    for _ in range(2):
        model, examples = problem()
        fit(model, examples, QUICK, seed=3)
        weights.append(model.state_dict())
    assert all(torch.equal(weights[0][name], weights[1][name]) for name in weights[0])


def test_the_best_weights_are_kept_and_patience_ends_the_fit():
    model, examples = problem()
    told = fit(model, examples, Schedule(epochs=30, patience=1, rate=0.5), seed=0)
    held_out = torch.arange(54, 64)
    assert told["epochs"] < 30
    assert told["validation_loss"] == pytest.approx(evaluate(model, examples, held_out)["loss"], rel=1e-4)


def test_progress_is_told_after_every_epoch():
    model, examples = problem()
    heard = []
    fit(model, examples, QUICK, seed=0, progress=lambda *step: heard.append(step))
    assert heard == [("epochs", 1, 2), ("epochs", 2, 2)]


def test_too_few_requests_are_refused_with_their_number():
    model, examples = problem(requests=5)
    with pytest.raises(ValueError, match="5 requests to train on; expected at least 8"):
        fit(model, examples, QUICK, seed=0)


def test_the_callers_threads_and_generator_are_left_alone():
    model, examples = problem()
    torch.manual_seed(5)
    threads, expected = torch.get_num_threads(), torch.rand(1)
    torch.manual_seed(5)
    fit(model, examples, QUICK, seed=0)
    assert (torch.get_num_threads(), float(torch.rand(1))) == (threads, float(expected))
