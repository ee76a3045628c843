from dataclasses import replace

import pytest
import torch

from tests.training import checkerboard
from training import cycle
from training.checkpoint import Checkpoint, shape_for
from training.examples import Examples
from training.held_out import evaluate
from training.losses import ranking_loss
from training.negatives import FULL_LIMIT
from training.qerec import create
from training.resumption import Resumption, ResumptionMismatch
from training.trainer import SLOW, Schedule, fit

QUICK = Schedule(epochs=2)


def problem(requests=64, seed=0, **sizes):
    dataset, query, need = checkerboard.dataset(requests)
    vectors = checkerboard.vectors()
    families = tuple(checkerboard.FAMILIES.values())
    shape = replace(shape_for(6, 2, vectors.text.shape[1], vectors.state.shape[1]), **sizes)
    model = create(shape, seed)
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


def test_the_keys_of_the_cosine_path_learn_slower():
    model, examples = problem()
    before = {name: weight.detach().clone() for name, weight in model.named_parameters()}
    fit(model, examples, Schedule(epochs=1, decay=0.0, batch=512), seed=0)
    moved = {name: float((weight.detach() - before[name]).abs().max()) for name, weight in model.named_parameters()}
    assert moved["tower.state_key.weight"] == pytest.approx(SLOW * moved["tower.text.weight"], rel=0.01)


class Stopped(Exception):
    """What a machine that goes down raises."""


@pytest.mark.parametrize("after", [1, 2])
def test_a_stopped_fit_resumes_to_the_weights_of_an_uninterrupted_one(tmp_path, after):
    schedule, resumption = Schedule(epochs=4), Resumption(tmp_path / "fit.pt", {"log[0]": "0:64"})
    whole, examples = problem()
    told = fit(whole, examples, schedule, seed=3)

    def stop(epoch, _told):
        if epoch == after:
            raise Stopped

    with pytest.raises(Stopped):
        fit(problem()[0], examples, schedule, seed=3, watch=stop, resumption=resumption)
    resumed, heard = problem()[0], []
    again = fit(resumed, examples, schedule, seed=3, watch=lambda epoch, _: heard.append(epoch), resumption=resumption)
    assert heard[0] == after + 1
    assert again == told
    assert all(torch.equal(mine, theirs) for mine, theirs in zip(resumed.parameters(), whole.parameters(), strict=True))


@pytest.mark.parametrize("other", [{"seed": 4}, {"offsets": {"log[0]": "0:65"}}])
def test_a_fit_never_goes_on_with_another_seed_or_log(tmp_path, other):
    model, examples = problem()
    fit(model, examples, Schedule(epochs=1), seed=3, resumption=Resumption(tmp_path / "fit.pt", {"log[0]": "0:64"}))
    offsets = other.get("offsets", {"log[0]": "0:64"})
    with pytest.raises(ResumptionMismatch, match="remove the file to begin anew"):
        fit(
            model,
            examples,
            Schedule(epochs=1),
            other.get("seed", 3),
            resumption=Resumption(tmp_path / "fit.pt", offsets),
        )


def test_the_gradient_of_the_whole_loss_is_that_of_finite_differences():
    model, examples = problem(16, dropout=0.0, query_null_share=0.0, id_drop_share=0.0)
    model = model.double().train()
    features = type(examples.features)(
        *(part.double() if part.is_floating_point() else part for part in examples.features.tensors())
    )
    intents = tuple(part.double() if part.is_floating_point() else part for part in examples.intents)
    parts = (examples.feedback.clicks.double(), examples.feedback.weights.double())
    feedback = replace(examples.feedback, clicks=parts[0], weights=parts[1])

    def loss():
        return ranking_loss(model(features, intents), feedback, model.position_bias, 2.0)

    loss().backward()
    generator = torch.Generator().manual_seed(0)
    for name, weight in model.named_parameters():
        place = int(torch.randint(weight.numel(), (1,), generator=generator))
        flat, step = weight.detach().view(-1), 1e-6
        before = float(flat[place])
        flat[place] = before + step
        above = float(loss().detach())
        flat[place] = before - step
        below = float(loss().detach())
        flat[place] = before
        slope = (above - below) / (2 * step)
        assert float(weight.grad.view(-1)[place]) == pytest.approx(slope, abs=1e-5, rel=1e-4), name


def test_a_knowledge_base_above_the_limit_is_trained_with_sampled_negatives():
    model, small = problem(300, intents=FULL_LIMIT + 6)
    vectors, generator = small.intents, torch.Generator().manual_seed(0)
    others = FULL_LIMIT
    intents = (
        torch.arange(1, others + 7),
        torch.cat([vectors[1], torch.randn(others, vectors[1].shape[1], generator=generator)]),
        torch.cat([vectors[2], torch.randn(others, vectors[2].shape[1], generator=generator)]),
        torch.zeros(others + 6, dtype=torch.int64),
    )
    eligible = torch.ones(len(small), others + 6, dtype=torch.bool)
    examples = Examples(small.features, replace(small.feedback, eligible=eligible), intents)
    told = fit(model, examples, Schedule(epochs=12, patience=12), seed=0)
    assert told["validation_recall_at_3"] > 0.5
