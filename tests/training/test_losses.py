import math

import numpy as np
import torch

from training.losses import (
    UNEXPOSED_LOG_WEIGHT,
    Feedback,
    click_loss,
    inverse_propensity,
    list_loss,
    ranking_loss,
    ranking_losses,
)


def feedback(exposed, clicks, *, weights=None, eligible=None, intents=4):
    exposed = torch.tensor(exposed)
    clicks = torch.tensor(clicks, dtype=torch.float32)
    positions = torch.where(exposed >= 0, torch.arange(1, exposed.shape[1] + 1), 0)
    weights = torch.ones_like(clicks) if weights is None else torch.tensor(weights)
    eligible = torch.ones(len(exposed), intents, dtype=torch.bool) if eligible is None else torch.tensor(eligible)
    return Feedback(exposed, positions, clicks, weights, eligible)


def test_the_list_loss_of_equal_scores_counts_unshown_intents_for_less():
    given = feedback([[0, 1]], [[1, 0]])
    expected = math.log(2 + 2 * math.exp(UNEXPOSED_LOG_WEIGHT))
    assert math.isclose(float(list_loss(torch.zeros(1, 4), given)), expected, rel_tol=1e-6)


def test_requests_without_a_click_leave_the_list_loss_as_it_is():
    logits = torch.randn(2, 4)
    both = list_loss(logits, feedback([[0, 1], [2, 3]], [[1, 0], [0, 0]]))
    torch.testing.assert_close(both, list_loss(logits[:1], feedback([[0, 1]], [[1, 0]])))


def test_the_weights_of_single_clicks_do_not_cancel():
    logits = torch.tensor([[2.0, 0, 0, 0], [0, 0, 0, 0]])
    plain = list_loss(logits, feedback([[0, 1], [0, 1]], [[1, 0], [0, 1]]))
    weighted = list_loss(logits, feedback([[0, 1], [0, 1]], [[1, 0], [0, 1]], weights=[[1.0, 4.0], [1.0, 4.0]]))
    assert weighted > plain


def test_an_ineligible_intent_is_no_competitor():
    logits = torch.tensor([[0.0, 0, 0, 9]])
    masked = feedback([[0, 1]], [[1, 0]], eligible=[[True, True, True, False]])
    assert float(list_loss(logits, masked)) < 2


def test_absent_slots_count_nowhere():
    logits = torch.randn(1, 4)
    short, padded = feedback([[2]], [[1]]), feedback([[2, -1]], [[1, 0]])
    bias = torch.zeros(4)
    torch.testing.assert_close(ranking_loss(logits, padded, bias), ranking_loss(logits, short, bias))
    shown_first = feedback([[0, -1]], [[1, 0]])
    torch.testing.assert_close(list_loss(logits, shown_first), list_loss(logits, feedback([[0]], [[1]])))


def test_the_click_loss_is_cross_entropy_at_the_position():
    bias = torch.tensor([0.0, 0.0, -1.0, 0.0])
    loss = click_loss(torch.zeros(1, 4), feedback([[0, 1]], [[0, 1]]), bias)
    assert math.isclose(float(loss), (math.log(2) + math.log(1 + math.e)) / 2, rel_tol=1e-6)


def test_a_sample_of_idle_requests_stands_for_all_of_them():
    logits = torch.randn(3, 4)
    everyone = feedback([[0, 1], [2, 3], [2, 3]], [[1, 0], [0, 0], [0, 0]])
    sample = everyone.take(torch.tensor([0, 1]))
    logits[2] = logits[1]
    bias = torch.zeros(4)
    torch.testing.assert_close(click_loss(logits[:2], sample, bias, 2.0), click_loss(logits, everyone, bias))


def test_clicks_weighted_by_inverse_propensity_count_alike_whatever_the_policy_favours():
    """Equal relevance, but one intent is shown first nine times of ten: weighted, both have as many clicks."""
    rng = np.random.default_rng(0)
    first = (rng.random(40_000) < 0.1).astype(int)
    shown = np.stack([first, 1 - first], 1)
    clicks = rng.random((40_000, 2)) < 0.4 * np.array([1.0, 0.5])
    propensity = np.where(np.stack([first == 0, first == 0], 1), 0.9, 0.1).astype(np.float32)
    weight = inverse_propensity(propensity) * clicks
    favoured, other = (weight[shown == intent].sum() for intent in (0, 1))
    assert abs(favoured / other - 1) < 0.05
    assert clicks[shown == 0].sum() > 1.3 * clicks[shown == 1].sum()


def test_an_inverse_propensity_is_capped():
    assert inverse_propensity(np.array([0.5, 1e-6, 0.0], np.float32)).tolist() == [2.0, 10.0, 10.0]


def test_the_losses_of_requests_add_up_to_that_of_all():
    logits, bias = torch.randn(3, 4), torch.tensor([0.0, 0.3, -1.0, 0.0])
    given = feedback([[0, 1], [2, -1], [3, 0]], [[1, 0], [0, 0], [0, 1]], weights=[[1.0, 2.0], [1.0, 1.0], [3.0, 4.0]])
    each = ranking_losses(logits, given, bias)
    assert each.shape == (3,)
    torch.testing.assert_close(each.sum(), ranking_loss(logits, given, bias))
