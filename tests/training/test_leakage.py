"""Planted leaks turn red; what a shop may know does not."""

from dataclasses import replace

import numpy as np
import pytest

from features.contract import to_ms
from features.decisions import OutcomeKind
from features.schema import CATEGORICAL, NUMERIC
from tests.training import checkerboard
from training import cycle, leakage
from training.dataset import split_by_time
from training.leakage import Leak


@pytest.fixture(scope="module")
def examples():
    return checkerboard.dataset(1000)[0]


def planted(dataset, name, values):
    """The dataset with one column replaced."""
    encoded = dataset.encoded
    if name in NUMERIC:
        numeric = encoded.numeric.copy()
        numeric[:, NUMERIC.index(name)] = values
        return replace(dataset, encoded=replace(encoded, numeric=numeric))
    categorical = encoded.categorical.copy()
    categorical[:, list(CATEGORICAL).index(name)] = values
    return replace(dataset, encoded=replace(encoded, categorical=categorical))


def test_what_was_known_in_time_is_no_leak(examples):
    leakage.check(examples)
    assert max(leakage.tells(examples).values()) < 0.7


def test_a_count_that_already_holds_the_click_is_a_leak(examples):
    late = planted(examples, "clicked_1d", examples.has_click + 0.01 * np.arange(len(examples)) / len(examples))
    with pytest.raises(Leak, match=r"column clicked_1d alone tells clicked requests .* recompute the rows"):
        leakage.check(late)


def test_a_page_that_was_seen_after_the_click_is_a_leak(examples):
    page = np.where(examples.has_click, 3, 1 + np.arange(len(examples)) % 2)
    with pytest.raises(Leak, match="column trigger_page"):
        leakage.check(planted(examples, "trigger_page", page))


def test_an_age_that_runs_backwards_is_a_leak_too(examples):
    with pytest.raises(Leak, match="column since_s_prompt"):
        leakage.check(planted(examples, "since_s_prompt", ~examples.has_click))


def test_nothing_is_trained_on_a_leak(examples):
    query = np.zeros((len(examples), checkerboard.WIDTH), np.float32)
    late = planted(examples, "clicked_1d", examples.has_click)
    with pytest.raises(Leak):
        cycle.train(late, checkerboard.vectors(), checkerboard.FAMILIES, query, np.zeros(len(examples), bool), seed=0)


def test_too_few_clicks_prove_nothing(examples):
    few = examples.take(np.arange(40))
    assert leakage.tells(planted(few, "clicked_1d", few.has_click)) == {}


def test_a_split_by_time_is_clean_and_one_by_chance_is_not(examples):
    earlier, later = split_by_time(examples, 0.8)
    leakage.check_split(earlier, later)
    order = np.random.default_rng(0).permutation(len(examples))
    with pytest.raises(Leak, match=r"ends .* ms after the later one begins"):
        leakage.check_split(examples.take(order[:800]), examples.take(order[800:]))
    with pytest.raises(Leak, match="1 decisions on both sides"):
        leakage.check_split(earlier, _with(later, earlier))


def _with(later, earlier):
    """The later side with one decision of the earlier one."""
    return replace(later, decision_id=(earlier.decision_id[0], *later.decision_id[1:]))


def test_the_world_of_the_first_day_leaks_nothing(kb):
    from training.dataset import build
    from training.first_day import first_day

    log = first_day(kb, seed=5, sessions=400, phrases={})
    outcomes = [o for entry in log for o in entry.outcomes]
    table = build([entry.decision for entry in log], outcomes, [intent.id for intent in kb.intents])
    leakage.check(table)
    clicks = {o.decision_id: to_ms(o.time) for o in outcomes if o.kind is OutcomeKind.CLICKED}
    assert all(
        clicks[name] > made for name, made in zip(table.decision_id, table.made_ms, strict=True) if name in clicks
    )
