"""A decision's inputs from its partition's log: what counts, what is set aside, and what cannot be known."""

from dataclasses import replace

import pytest

from features.contract import from_ms
from features.decisions import FeatureRow, Outcome
from features.events import UserEvent
from features.feedback import FeedbackState, fold_outcome
from features.fold import fold
from features.schema import feature_row, fingerprint
from features.state import UserState
from training import recomputed
from training.partition_log import PartitionLog, Served, Told
from training.rebuild import Logged
from training.recomputed import recompute
from training.skew import check_partition

NOON_MS = 1_767_268_800_000


def event(number, at_s=0, user="u1", kind="help_page_opened", **data):
    return UserEvent(id=f"e{number}", type=kind, time=from_ms(NOON_MS + at_s * 1000), user=user, data=data)


def logged(*events):
    return [Logged(n, e.time_ms, e.key.encode(), e.to_json()) for n, e in enumerate(events)]


def click(offset, at_s, intent="a"):
    at_ms = NOON_MS + at_s * 1000
    told = Outcome(id=f"c{offset}", decision_id="d", kind="clicked", time=from_ms(at_ms), user="u1", intent_id=intent)
    return Told(offset, at_ms, told)


def serving(events, outcomes=(), *, heard=-1, is_show=True):
    """What a worker that had heard the outcomes up to `heard` logs for every event, all being triggers."""
    state, feedback, decisions = UserState(), FeedbackState(), {}
    for told in outcomes:
        if told.offset <= heard:
            fold_outcome(feedback, told.outcome, told.at_ms)
    for number, trigger in enumerate(events):
        fold(state, trigger, trigger.time_ms, 0)
        row = feature_row(state, feedback, trigger, trigger.time_ms)
        decisions[number] = [served(number, trigger, row, heard=heard, is_show=is_show)]
        if is_show:
            state.prompted(trigger.time_ms)
    return PartitionLog(0, 0, logged(*events), decisions, {"demo:u1": list(outcomes)})


def served(number, trigger, row, *, heard, is_show):
    return Served(
        decision_id=f"d{number}", trigger=f"t[0]@{number}", at_ms=trigger.time_ms, made_ms=trigger.time_ms,
        is_show=is_show, feedback_offset=heard, schema=fingerprint(), model="m", intent_stats="none",
        features_json=row.model_dump_json().encode(),
    )  # fmt: skip


def rows(log):
    return recompute(log, lambda e: True, lambda moments: [(m.served.decision_id, m.row) for m in moments])


VISIT = [event(n, at_s=60 * n) for n in range(4)]


def test_rows_are_those_that_were_served_with_prompts_and_feedback_as_they_were_known():
    log = serving(VISIT, [click(5, 1), click(9, 2, "b")], heard=5)
    assert rows(log) == [(made.decision_id, made.row) for told in log.decisions.values() for made in told]
    assert rows(log)[-1][1].numeric["prompts_in_session"] == 3
    assert rows(log)[-1][1].numeric["clicked_1d"] == 1


def test_a_store_that_began_again_knows_less_feedback_than_before():
    log = serving(VISIT, [click(5, 1), click(9, 2, "b")], heard=9)
    early = serving(VISIT, [click(5, 1), click(9, 2, "b")], heard=-1)
    mixed = replace(log, decisions=log.decisions | {3: early.decisions[3]})
    assert [row.numeric["clicked_1d"] for _, row in rows(mixed)] == [2, 2, 2, 0]


def test_an_event_that_cannot_be_folded_is_as_if_it_had_never_been(monkeypatch):
    def fragile(state, told, at_ms, watermark_ms):
        verdict = fold(state, told, at_ms, watermark_ms)
        if told.id == "e1":
            raise ZeroDivisionError
        return verdict

    log = serving(VISIT)
    whole = serving([VISIT[0], *VISIT[2:]])
    monkeypatch.setattr(recomputed, "fold", fragile)
    silent = replace(log, decisions={0: log.decisions[0], 2: log.decisions[2]})
    expected = [made.row for place in (0, 1) for made in whole.decisions[place]]
    assert [row for _, row in rows(silent)] == expected


def test_a_decision_that_refines_another_has_its_row_and_is_not_charged():
    log = serving(VISIT)
    second = replace(log.decisions[1][0], decision_id="refined")
    refined = replace(log, decisions=log.decisions | {1: [*log.decisions[1], second]})
    assert check_partition(refined, lambda e: True).differing == 0
    assert dict(rows(refined))["refined"] == dict(rows(log))["d1"]


def test_a_decision_whose_event_was_never_applied_is_skew():
    log = serving(VISIT)
    foreign = replace(log.decisions[3][0], trigger="t[0]@99")
    found = check_partition(replace(log, decisions=log.decisions | {99: [foreign]}), lambda e: True)
    assert [difference.column for difference in found.examples] == ["trigger_offset"]


@pytest.mark.parametrize("dropped", [0, 1, 2])
def test_after_a_decision_that_a_crash_dropped_only_prompt_columns_are_uncertain(dropped):
    log = serving(VISIT)
    crashed = replace(log, decisions={at: told for at, told in log.decisions.items() if at != dropped})
    found = check_partition(crashed, lambda e: True)
    assert (found.differing, found.interrupted) == (0, 2)
    assert check_partition(crashed, lambda e: False).differing > 0


def test_decisions_of_another_schema_and_without_a_feedback_offset_are_counted_beside():
    log = serving(VISIT, [click(5, 1)], heard=5)
    old = {at: [replace(told[0], feedback_offset=None)] for at, told in log.decisions.items()}
    assert check_partition(replace(log, decisions=old), lambda e: True).unattributed == 4
    other = {at: [replace(told[0], schema="0" * 16)] for at, told in log.decisions.items()}
    found = check_partition(replace(log, decisions=other), lambda e: True)
    assert (found.other_schema, found.cells, found.differing) == (4, 0, 0)


def with_column(log, number, name, value):
    row = log.decisions[number][0].row
    spoilt = FeatureRow(**{**row.model_dump(), "numeric": {**row.numeric, name: value}})
    changed = replace(log.decisions[number][0], features_json=spoilt.model_dump_json().encode())
    return replace(log, decisions=log.decisions | {number: [changed]})


def test_where_the_log_is_cut_only_what_the_cut_may_explain_is_excused():
    log = replace(serving(VISIT), first_offset=1)
    for column, differing, cut in (("session_events", 1, 0), ("events_1h", 1, 0), ("orders", 0, 1)):
        found = check_partition(with_column(log, 3, column, 77.0), lambda e: True)
        assert (found.differing, found.cut) == (differing, cut), column
    found = check_partition(replace(log, events=log.events[1:]), lambda e: True)
    assert (found.differing, found.cut) == (0, 4)
