"""Outcomes meet the decisions they belong to, and nothing else becomes a label."""

import random
from dataclasses import replace

import numpy as np
import pytest

from features.contract import from_ms, to_ms
from features.decisions import Excluded, Outcome, OutcomeKind
from training.dataset import ATTRIBUTION_WINDOW_MS, attach_queries, build, permuted_clicks, split_by_time
from training.first_day import first_day


@pytest.fixture(scope="module")
def log(kb):
    return first_day(kb, seed=5, sessions=120, phrases={})


@pytest.fixture(scope="module")
def ids(kb):
    return [intent.id for intent in kb.intents]


@pytest.fixture
def decision(log):
    return next(entry.decision for entry in log if len(entry.decision.prompts) == 3)


def outcome(decision, kind, after_ms=1000, place=None, **changes):
    prompt = decision.prompts[place] if place is not None else None
    return Outcome(
        **{
            "id": f"{decision.decision_id}:{kind}:{place}:{after_ms}",
            "decision_id": decision.decision_id,
            "kind": kind,
            "time": from_ms(to_ms(decision.time) + after_ms),
            "tenant": decision.tenant,
            "user": decision.user,
            "intent_id": prompt.intent_id if prompt else None,
        }
        | changes
    )


def shown(decision, **changes):
    return outcome(decision, OutcomeKind.SHOWN, **changes)


def clicked(decision, place=1, **changes):
    return outcome(decision, OutcomeKind.CLICKED, **{"place": place} | changes)


def test_a_click_labels_the_prompt_it_names(decision, ids):
    table = build([decision], [shown(decision), clicked(decision)], ids)
    assert table.clicks.tolist() == [[0.0, 1.0, 0.0]]
    assert [ids[i] for i in table.exposed[0]] == [prompt.intent_id for prompt in decision.prompts]
    assert table.propensity[0] == pytest.approx([prompt.propensity for prompt in decision.prompts])
    assert table.positions.tolist() == [[1, 2, 3]]
    assert table.labels.sum() == table.labels[0, table.exposed[0, 1]] == 1.0


def test_a_seen_slate_without_a_click_is_kept(decision, ids):
    table = build([decision], [shown(decision)], ids)
    assert len(table) == 1
    assert not table.has_click.any()


def test_an_unseen_slate_is_no_negative_even_if_clicked(decision, ids):
    table = build([decision], [clicked(decision)], ids)
    assert (len(table), table.dropped.unseen) == (0, 1)


def test_only_the_prompts_that_were_seen_are_exposed(decision, ids):
    table = build([decision], [shown(decision, place=2)], ids)
    assert [ids[i] for i in table.exposed[0]] == [decision.prompts[2].intent_id]
    assert table.positions.tolist() == [[3]]


@pytest.mark.parametrize(("after_ms", "label"), [(ATTRIBUTION_WINDOW_MS, 1.0), (ATTRIBUTION_WINDOW_MS + 1, 0.0)])
def test_outcome_after_the_window_is_not_attributed(decision, ids, after_ms, label):
    table = build([decision], [shown(decision), clicked(decision, after_ms=after_ms)], ids)
    assert table.clicks[0, 1] == label
    assert table.dropped.outside_window == (label == 0.0)


def test_anothers_outcome_is_not_attributed(decision, ids):
    table = build([decision], [shown(decision), clicked(decision, user="somebody-else")], ids)
    assert not table.has_click.any()


def test_repeated_outcomes_and_decisions_change_nothing(decision, ids):
    once = build([decision], [shown(decision), clicked(decision)], ids)
    twice = build([decision] * 2, [shown(decision), clicked(decision)] * 2, ids)
    assert np.array_equal(once.clicks, twice.clicks)
    assert (twice.dropped.repeated_decisions, twice.dropped.repeated_outcomes) == (1, 2)


def test_silence_other_schemas_and_orphans_are_counted(decision, ids):
    silent = decision.model_copy(update={"decision": "silent", "prompts": [], "decision_id": "a"})
    versions = decision.versions.model_copy(update={"features": "0" * 16})
    other = decision.model_copy(update={"versions": versions, "decision_id": "b"})
    dropped = build([silent, other], [shown(other), shown(decision)], ids).dropped
    assert (dropped.not_shown, dropped.other_schema, dropped.orphan_outcomes) == (1, 1, 1)


def test_an_intent_outside_the_list_is_dropped_and_counted(decision, ids):
    known = [i for i in ids if i != decision.prompts[1].intent_id]
    table = build([decision], [shown(decision), clicked(decision)], known)
    assert (table.exposed.shape, table.dropped.unknown_prompts) == ((1, 2), 1)
    assert not table.has_click.any()


def test_what_was_excluded_is_not_eligible(decision, ids):
    gone = next(i for i in decision.candidates.intent_ids if i not in {p.intent_id for p in decision.prompts})
    changed = decision.model_copy(update={"excluded": [Excluded(intent_id=gone, reason="already_clicked")]})
    table = build([changed], [shown(changed)], ids)
    assert not table.eligible[0, ids.index(gone)]
    assert table.eligible[0].sum() == len(decision.candidates.intent_ids) - 1


def test_any_interleaving_of_the_log_gives_the_same_examples(log, ids):
    decisions, outcomes = [e.decision for e in log], [o for e in log for o in e.outcomes]
    ordered = build(decisions, outcomes, ids)
    random.Random(1).shuffle(decisions)
    random.Random(2).shuffle(outcomes)
    shuffled = build(decisions, outcomes, ids)
    assert ordered.decision_id == shuffled.decision_id
    assert np.array_equal(ordered.clicks, shuffled.clicks)
    assert np.array_equal(ordered.encoded.numeric, shuffled.encoded.numeric)
    assert ordered.dropped == shuffled.dropped
    assert ordered.clicks.sum() > 10


def test_every_decision_is_an_example_or_counted(log, ids):
    table = build([e.decision for e in log], [o for e in log for o in e.outcomes], ids)
    d = table.dropped
    gone = d.repeated_decisions + d.not_shown + d.unseen + d.other_schema + d.only_unknown_intents
    assert len(table) + gone == len(log)


def dataset(log, ids):
    return build([e.decision for e in log], [o for e in log for o in e.outcomes], ids)


def test_the_split_puts_all_of_the_past_first(log, ids):
    whole = dataset(log, ids)
    early, late = split_by_time(whole, 0.75)
    assert len(early) + len(late) == len(whole)
    assert len(early) == pytest.approx(0.75 * len(whole), abs=2)
    assert early.made_ms.max() < late.made_ms.min()


def test_permuted_clicks_keep_rates_by_position_and_lose_the_request(log, ids):
    whole = dataset(log, ids)
    placebo = permuted_clicks(whole, seed=1)
    assert np.array_equal(placebo.clicks.sum(axis=0), whole.clicks.sum(axis=0))
    assert not np.array_equal(placebo.clicks, whole.clicks)
    assert not (placebo.clicks[~whole.seen]).any()


def test_queries_are_looked_up_once_and_absent_ones_are_zero(log, ids):
    whole, asked = dataset(log, ids), []

    def lookup(hashes):
        asked.append(hashes)
        return {hashes[0]: np.ones(4, np.float32)}

    query, has_query = attach_queries(whole, lookup, width=4)
    assert len(asked) == 1
    assert has_query.sum() == whole.state_hash.count(asked[0][0])
    assert query[has_query].min() == 1.0
    assert not query[~has_query].any()


def test_an_empty_log_is_an_empty_dataset(ids):
    table = build([], [], ids)
    assert len(table) == 0
    assert table.eligible.shape == (0, len(ids))
    assert len(replace(table).take(np.array([], np.int64))) == 0
