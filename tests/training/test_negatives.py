import torch

from training.losses import UNEXPOSED_LOG_WEIGHT, Feedback, list_loss
from training.negatives import Negatives

INTENTS = 600


def feedback(requests=4):
    exposed = torch.tensor([[5, 90, -1]]).repeat(requests, 1)
    clicks = torch.tensor([[1.0, 0.0, 0.0]]).repeat(requests, 1)
    positions = torch.tensor([[1, 2, 0]]).repeat(requests, 1)
    eligible = torch.ones(requests, INTENTS, dtype=torch.bool)
    return Feedback(exposed, positions, clicks, torch.ones(requests, 3), eligible)


def negatives(given):
    return Negatives.of(given, torch.linspace(0.1, 1.0, INTENTS))


def test_chances_sum_to_one_and_favour_the_clicked_and_the_hard():
    chance = negatives(feedback()).chance
    assert abs(float(chance.sum()) - 1) < 1e-9
    assert chance[5] > chance[4]
    assert chance[-1] > chance[0] > 0


def test_a_sample_holds_what_was_shown_and_points_at_it():
    given = feedback()
    columns, sample = negatives(given).sampled(given, torch.Generator().manual_seed(0))
    assert {5, 90} <= set(columns.tolist())
    assert columns[sample.exposed[0, :2]].tolist() == [5, 90]
    assert sample.exposed[0, 2] == -1
    assert sample.eligible.shape == (4, len(columns))


def test_the_sampled_denominator_is_the_full_one_on_average():
    given, logits = feedback(1), torch.randn(1, INTENTS, generator=torch.Generator().manual_seed(1))
    chance, generator = negatives(given), torch.Generator().manual_seed(2)
    is_shown = torch.zeros(INTENTS, dtype=torch.bool)
    is_shown[[5, 90]] = True
    full = logits[0, ~is_shown].exp().sum() * torch.tensor(UNEXPOSED_LOG_WEIGHT).exp()
    found = []
    for _ in range(400):
        columns, sample = chance.sampled(given, generator)
        assert sample.log_weights is not None
        weights = sample.log_weights.exp() * ~is_shown[columns]
        found.append(float((logits[0, columns].exp() * weights).sum()))
    kept = chance.chance[~is_shown].sum()
    assert abs(sum(found) / len(found) / float(full) - 1) < 0.03, float(kept)


def test_with_many_draws_the_sampled_loss_is_the_full_one():
    given, logits = feedback(1), torch.randn(1, INTENTS, generator=torch.Generator().manual_seed(1))
    columns, sample = negatives(given).sampled(given, torch.Generator().manual_seed(0), draws=200_000)
    assert abs(float(list_loss(logits[:, columns], sample)) - float(list_loss(logits, given))) < 0.02
