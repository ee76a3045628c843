"""The first day is deterministic, its propensities are the rule's, and its facts are what was known then."""

import pytest

from features import schema
from features.contract import to_ms
from features.fold import fold
from features.prompt import state_hash
from features.state import UserState, facts
from stream.policy import PolicySettings
from training.first_day import FIRST_DAY_MS, TRIGGER_PAGES, TRIGGERS, first_day, lived
from training.tickets import SLATE, Rule
from training.world import World


@pytest.fixture(scope="module")
def day(kb):
    return first_day(kb, seed=5, sessions=150, phrases={})


def decisions(day):
    return [logged.decision for logged in day]


def test_equal_arguments_give_the_equal_day(kb, day):
    assert first_day(kb, seed=5, sessions=150, phrases={}) == day
    assert first_day(kb, seed=6, sessions=150, phrases={}) != day


def test_it_decides_where_the_serving_policy_would():
    policy = PolicySettings()
    assert policy.triggers == TRIGGERS
    assert policy.pages == TRIGGER_PAGES


def test_slates_are_distinct_eligible_and_never_what_was_clicked(day):
    assert any(logged.outcomes for logged in day)
    for decision in decisions(day):
        slate = [prompt.intent_id for prompt in decision.prompts]
        assert len(set(slate)) == len(slate) == min(SLATE, len(decision.candidates.intent_ids))
        assert set(slate) <= set(decision.candidates.intent_ids)
        assert not set(slate) & {excluded.intent_id for excluded in decision.excluded}


def test_the_prompt_is_the_one_that_was_hashed_and_the_row_encodes(day):
    assert all(state_hash(logged.prompt) == logged.decision.embedding.state_hash for logged in day)
    assert len(schema.encode([decision.features for decision in decisions(day)])) == len(day)


def test_logged_propensities_are_those_of_the_rule(kb):
    world, checked = World(kb, {}, seed=5), 0
    rule = Rule(kb, world.need_mix(FIRST_DAY_MS))
    for session, logged in lived(world, kb, 150, FIRST_DAY_MS):
        state, decision = UserState(), logged.decision
        for event in session.events[: [e.id for e in session.events].index(decision.trigger_event) + 1]:
            fold(state, event, to_ms(event.time), to_ms(event.time))
        pool = rule.pool(decision.candidates.intent_ids, facts(state, to_ms(event.time)), event.data.page)
        slate = [pool.ids.index(prompt.intent_id) for prompt in decision.prompts]
        assert decision.slate_propensity == pool.slate_propensity(slate)
        told = [prompt.propensity for prompt in decision.prompts]
        assert told == [pool.item_propensity(index, place) for place, index in enumerate(slate)]
        checked += 1
    assert checked > 150
