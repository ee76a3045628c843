"""What a user did with our prompts."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from features.contract import from_ms
from features.decisions import Outcome
from features.dedupe import IDENTITY_BYTES
from features.feedback import MAX_INTENTS, MAX_SHOWN, FeedbackState, fold_outcome
from features.state import MAX_SEEN, StateFormatError, Verdict

NOW_MS = 1_790_000_000_000


def outcome(kind="clicked", intent_id="late_parcel", outcome_id="o1", **told):
    return Outcome(
        id=outcome_id, decision_id="d1", kind=kind, intent_id=intent_id, time=from_ms(NOW_MS), user="a", **told
    )


def folded(*pairs):
    state = FeedbackState()
    for one, at_ms in pairs:
        fold_outcome(state, one, at_ms)
    return state


def test_a_click_counts_from_its_time_on():
    state = folded((outcome(), NOW_MS))
    assert state.clicked_since(NOW_MS) == {"late_parcel"}
    assert state.clicked_since(NOW_MS + 1) == set()


def test_a_repeated_outcome_changes_nothing():
    state = folded((outcome("shown"), NOW_MS))
    assert fold_outcome(state, outcome("shown"), NOW_MS + 5) is Verdict.DUPLICATE
    assert state.shown == [NOW_MS]


@given(st.permutations([1, 2, 3]))
def test_the_newest_click_counts_in_any_order_of_arrival(times):
    state = folded(*((outcome(outcome_id=f"o{at_ms}"), at_ms) for at_ms in times))
    assert state.clicked == {"late_parcel": 3}


def test_dismissing_one_intent_or_the_whole_slate_is_kept_apart():
    state = folded((outcome("dismissed"), NOW_MS), (outcome("dismissed", None, "o2"), NOW_MS))
    assert state.dismissed_since(NOW_MS) == {"late_parcel"}
    assert "" in state.dismissed


def test_shown_prompts_are_counted_up_to_the_newest_fifty():
    state = folded(*((outcome("shown", outcome_id=f"o{place}"), NOW_MS + place) for place in range(80)))
    assert state.shown_since(NOW_MS) == MAX_SHOWN
    assert state.shown_since(NOW_MS + 70) == 10


def test_typed_and_converted_outcomes_are_applied_and_change_only_the_ids():
    state = FeedbackState()
    assert fold_outcome(state, outcome("converted"), NOW_MS) is Verdict.APPLIED
    assert fold_outcome(state, outcome("typed_query", outcome_id="o2", text="help"), NOW_MS) is Verdict.APPLIED
    assert (state.clicked, state.dismissed, state.shown, len(state.seen_ids)) == ({}, {}, [], 2 * IDENTITY_BYTES)


def test_the_state_is_bounded_and_forgets_the_oldest():
    state = FeedbackState()
    for place in range(2 * MAX_SEEN):
        intent_id = f"i{place}" + "x" * 55
        fold_outcome(state, outcome("clicked", intent_id, f"c{place}"), NOW_MS + place)
        fold_outcome(state, outcome("dismissed", intent_id, f"d{place}"), NOW_MS + place)
    assert len(state.clicked) == len(state.dismissed) == MAX_INTENTS
    assert len(state.seen_ids) == MAX_SEEN * IDENTITY_BYTES
    assert len(state.to_bytes()) < 32 * 1024
    assert state.clicked_since(0) == {
        f"i{place}" + "x" * 55 for place in range(2 * MAX_SEEN - MAX_INTENTS, 2 * MAX_SEEN)
    }


def test_bytes_come_back():
    state = folded((outcome(), NOW_MS), (outcome("shown", outcome_id="o2"), NOW_MS))
    assert FeedbackState.from_bytes(state.to_bytes()) == state
    assert FeedbackState.from_bytes(None) == FeedbackState()


@pytest.mark.parametrize("blob", [b"", b"\x90", b"\x91\x63", b'{"v":1}'])
def test_bytes_of_another_program_are_refused(blob):
    with pytest.raises(StateFormatError, match="RGALIGN_PREFIX"):
        FeedbackState.from_bytes(blob)
