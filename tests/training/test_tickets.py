"""The slates by tickets are drawn as their propensities say, and favour what the shop would."""

from collections import Counter
from itertools import permutations

import numpy as np
import pytest

from features.events import PageClass
from training.tickets import SLATE, Pool, Rule


def pool(size, seed=0):
    return Pool([f"i{k}" for k in range(size)], np.random.default_rng(seed).lognormal(0, 2, size))


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("size", [1, 2, 3, 4, 6])
def test_propensities_of_slates_and_of_items_agree_with_enumeration(size, seed):
    drawn_from = pool(size, seed)
    slates = {slate: drawn_from.slate_propensity(slate) for slate in permutations(range(size), min(SLATE, size))}
    assert sum(slates.values()) == pytest.approx(1.0)
    for place in range(min(SLATE, size)):
        for index in range(size):
            expected = sum(chance for slate, chance in slates.items() if slate[place] == index)
            assert drawn_from.item_propensity(index, place) == pytest.approx(expected)


def test_slates_are_drawn_as_often_as_their_propensity_says():
    drawn_from, rng, total = pool(4), np.random.default_rng(1), 20_000
    drawn = Counter(tuple(drawn_from.draw(rng)) for _ in range(total))
    for slate in permutations(range(4), SLATE):
        assert drawn[slate] / total == pytest.approx(drawn_from.slate_propensity(slate), abs=0.01)


def test_a_large_pool_still_sums_to_one_at_every_place():
    drawn_from = pool(190)
    for place in range(SLATE):
        assert sum(drawn_from.item_propensity(index, place) for index in range(190)) == pytest.approx(1.0)


def test_tickets_the_visit_and_the_page_make_an_intent_likelier_and_none_is_impossible(kb):
    rule, ids = Rule(kb, {"sizes": 0.5, "code": 0.5}), ["sizes", "colours", "code", "declined"]
    calm = rule.pool(ids, frozenset(), None).weights
    rejected = rule.pool(ids, frozenset({"recent:voucher_rejected"}), None).weights
    at_checkout = rule.pool(ids, frozenset(), PageClass.CHECKOUT).weights
    assert calm[0] == calm[2] > calm[1] == calm[3] > 0
    assert (rejected > calm).tolist() == [False, False, True, False]
    assert (at_checkout > calm).tolist() == [False, False, True, True]
