"""A live shopper acts at due times, answers each decision once, and leaves when the need is solved."""

from itertools import islice

import pytest

from features.contract import to_ms
from features.decisions import OutcomeKind
from training.first_day import FIRST_DAY_MS, lived
from training.traffic import FAREWELL_MS, LiveShopper, arrivals
from training.world import World


@pytest.fixture(scope="module")
def clicked(kb):
    """A world, a session in which something was clicked, and the decision that led to it."""
    world = World(kb, {}, seed=4)
    for session, logged in lived(world, kb, 400, FIRST_DAY_MS):
        if any(outcome.kind is OutcomeKind.CLICKED for outcome in logged.outcomes):
            return world, session, logged.decision
    raise AssertionError("nobody clicked")


def test_events_fall_due_at_their_own_times_and_the_session_ends(clicked):
    world, session, _ = clicked
    live, due = LiveShopper(world, session), []
    while (at_ms := live.next_due_ms) is not None:
        due.append((at_ms, live.next_event()))
    assert [event for _, event in due] == list(session.events)
    assert all(at_ms == to_ms(event.time) for at_ms, event in due)
    assert live.next_event() is None


def test_after_a_click_the_shopper_says_goodbye_and_clicks_no_more(clicked):
    world, session, decision = clicked
    live = LiveShopper(world, session)
    while live.next_event().id != decision.trigger_event:
        pass
    outcomes = live.on_decision(decision, to_ms(decision.time))
    click_ms = max(to_ms(o.time) for o in outcomes if o.kind is OutcomeKind.CLICKED)
    rest = []
    while (event := live.next_event()) is not None:
        rest.append(event)
    assert live.is_solved
    assert to_ms(rest[-1].time) == click_ms + FAREWELL_MS
    assert all(to_ms(event.time) <= click_ms for event in rest[:-1])
    again = decision.model_copy(update={"decision_id": "another"})
    assert all(o.kind is not OutcomeKind.CLICKED for o in live.on_decision(again, click_ms))


def test_a_decision_is_answered_once_and_only_by_its_own_session(clicked):
    world, session, decision = clicked
    live, other = LiveShopper(world, session), LiveShopper(world, world.session(session.number + 1, FIRST_DAY_MS))
    assert live.on_decision(decision, FIRST_DAY_MS)
    assert live.on_decision(decision, FIRST_DAY_MS) == []
    assert other.on_decision(decision, FIRST_DAY_MS) == []


def test_a_slate_that_comes_too_late_to_replace_an_answered_one_is_not_answered(clicked):
    world, session, decision = clicked
    live = LiveShopper(world, session)
    live.on_decision(decision, FIRST_DAY_MS)
    second = decision.model_copy(update={"decision_id": "second", "refines": decision.decision_id})
    assert live.on_decision(second, FIRST_DAY_MS) == []
    assert LiveShopper(world, session).on_decision(second, FIRST_DAY_MS)


def test_answers_do_not_depend_on_when_the_decision_arrives(clicked):
    world, session, decision = clicked
    kinds = [
        [o.kind for o in LiveShopper(world, session).on_decision(decision, FIRST_DAY_MS + late)] for late in (0, 50_000)
    ]
    assert kinds[0] == kinds[1]


def test_arrivals_keep_the_asked_for_pace_and_repeat(kb):
    world = World(kb, {}, seed=4)
    first, second = (list(islice(arrivals(world, 20.0, FIRST_DAY_MS), 200)) for _ in range(2))
    assert first == second
    seconds = (first[-1].start_ms - first[0].start_ms) / 1000
    assert sum(len(session.steps) for session in first) / seconds == pytest.approx(20.0, rel=0.02)
    assert next(arrivals(world, 20.0, FIRST_DAY_MS, first=7)).number == 7


def test_a_world_without_pace_is_refused(kb):
    with pytest.raises(ValueError, match="expected a positive rate"):
        next(arrivals(World(kb, {}, seed=4), 0.0, FIRST_DAY_MS))
