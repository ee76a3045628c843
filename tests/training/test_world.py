"""The world is deterministic, its shoppers obey its oracle, and its drift moves the mix of needs."""

import numpy as np
import pytest

from features.contract import to_ms
from features.events import Decision, Outcome, OutcomeKind
from features.fold import fold
from features.knowledge import KnowledgeBase, load
from features.state import UserState, facts
from tests.training.builders import intent
from training.first_day import FIRST_DAY_MS, lived
from training.shopping import events_for
from training.world import OWN, SIBLING, UNSEEN, World, load_phrases

SMALL = KnowledgeBase(
    (
        intent("track", "delivery", needs_any=("order:in_transit", "order:delayed")),
        intent("late", "delivery", needs_all=("order:delayed",)),
        intent("declined", "payment", needs_all=("recent:payment_failed", "cart:nonempty")),
        intent("code", "voucher", needs_all=("recent:voucher_rejected",)),
        intent("sizes", "goods"),
        intent("hours", "goods"),
    )
)
PHRASES = {i.id: (f"{i.id} please",) for i in SMALL.intents}


def world(**changes):
    return World(SMALL, PHRASES, **{"seed": 7} | changes)


def sessions(some_world, count=300):
    return [some_world.session(n, FIRST_DAY_MS + n * 60_000) for n in range(count)]


def test_equal_seeds_give_equal_sessions_in_any_order():
    forward = sessions(world(), 40)
    backward = [world().session(n, FIRST_DAY_MS + n * 60_000) for n in reversed(range(40))]
    assert forward == backward[::-1]
    assert forward != sessions(world(seed=8), 40)


def test_event_times_are_the_planned_delays_and_ids_are_unique():
    made = sessions(world(), 50)
    ids = [event.id for session in made for event in session.events]
    assert len(set(ids)) == len(ids)
    for session in made:
        elapsed = np.cumsum([delay_s for delay_s, _ in session.steps])
        assert [to_ms(e.time) - session.start_ms for e in session.events] == pytest.approx(elapsed * 1000, abs=1)


def facts_after(events):
    state = UserState()
    for event in events:
        fold(state, event, to_ms(event.time), to_ms(event.time))
    return facts(state, state.last_ms)


def test_a_sessions_events_make_its_need_eligible():
    needy = [s for s in sessions(world()) if s.need]
    assert {s.need for s in needy} == set(SMALL.by_id)
    for session in needy:
        assert SMALL.by_id[session.need].eligibility.holds(facts_after(session.events)), session.need


def test_every_intent_of_our_own_knowledge_base_can_be_needed():
    kb = load()
    own = World(kb, {}, seed=1)
    for number, needed in enumerate(kb.intents):
        rng = np.random.default_rng(number)
        drafts = events_for(needed, "o1", rng, is_need=True)
        shopper = own.shopper(number)
        events = [own._event(f"e{i}", *draft, shopper, FIRST_DAY_MS + i) for i, draft in enumerate(drafts)]
        assert needed.eligibility.holds(facts_after(events)), needed.id


def test_the_need_stands_in_words_in_half_of_the_needy_sessions():
    needy = [s for s in sessions(world(), 600) if s.need]
    said = [any(s.need[:3] in f"{e.data.query} {e.data.text}" for e in s.events) for s in needy]
    assert np.mean(said) == pytest.approx(0.5, abs=0.1)


def shown(world_, session, intent_ids) -> Decision:
    """A decision of the first day with another slate."""
    template = next(logged.decision for _, logged in lived(world(), SMALL, 30, FIRST_DAY_MS) if logged.decision.prompts)
    prompts = [
        template.prompts[0].model_copy(update={"intent_id": i, "position": k}) for k, i in enumerate(intent_ids, 1)
    ]
    event = session.events[-1]
    return template.model_copy(update={"prompts": prompts, "trigger_event": event.id, "user": event.user})


def clicked(outcomes: list[Outcome]) -> list[str | None]:
    return [o.intent_id for o in outcomes if o.kind is OutcomeKind.CLICKED]


def test_clicks_are_as_frequent_as_the_oracle_says():
    some, rng, n = world(), np.random.default_rng(3), 4000
    session = next(s for s in sessions(some) if s.need == "track")
    slate = ["sizes", "track", "late"]
    decision = shown(some, session, slate)
    answers = [some.respond(session, decision, rng, FIRST_DAY_MS) for _ in range(n)]
    seen = [a for a in answers if a]
    assert len(seen) / n == pytest.approx(1 - UNSEEN, abs=0.02)
    for position, intent_id in enumerate(slate, 1):
        p = some.click_probability("track", intent_id, position)
        share = np.mean([intent_id in clicked(a) for a in seen])
        assert abs(share - p) <= 4 * np.sqrt(p * (1 - p) / len(seen)) + 1e-9
    assert np.mean([bool(clicked(a)) for a in seen]) == pytest.approx(some.oracle_ctr("track", slate), abs=0.04)


def test_without_a_need_or_once_solved_nobody_clicks():
    some, rng = world(), np.random.default_rng(0)
    idle = next(s for s in sessions(some) if s.need is None)
    needy = next(s for s in sessions(some) if s.need == "track")
    for session, solved in ((idle, False), (needy, True)):
        decision = shown(some, session, ["track", "late"])
        assert not any(clicked(some.respond(session, decision, rng, FIRST_DAY_MS, solved=solved)) for _ in range(500))


def test_relevance_orders_need_sibling_stranger():
    some, (low, high) = world(), SIBLING
    assert some.relevance("track", "track") == OWN
    assert low <= some.relevance("track", "late") <= high
    assert some.relevance("track", "sizes") < low
    assert some.relevance(None, "track") == 0.0


def test_shown_comes_first_and_outcome_ids_are_unique():
    some, rng = world(), np.random.default_rng(1)
    session = next(s for s in sessions(some) if s.need == "track")
    decision = shown(some, session, ["track", "late"])
    for answer in filter(None, (some.respond(session, decision, rng, FIRST_DAY_MS) for _ in range(50))):
        assert answer[0].kind is OutcomeKind.SHOWN
        assert [o.time for o in answer] == sorted(o.time for o in answer)
        assert len({o.id for o in answer}) == len(answer)


def test_drift_moves_the_mix_from_its_moment_on():
    moment = FIRST_DAY_MS + 10
    drifting = world(drift=True, drift_from_ms=moment)
    before, after = drifting.need_mix(moment - 1), drifting.need_mix(moment)
    assert before == world().need_mix(moment)
    assert sum(after.values()) == pytest.approx(1.0)
    assert after["late"] > before["late"]
    assert after["code"] > before["code"]
    assert after["sizes"] < before["sizes"]


def test_a_knowledge_base_without_active_intents_is_refused():
    with pytest.raises(ValueError, match="no active intent"):
        World(KnowledgeBase(), {}, seed=1)


def test_phrases_are_told_for_every_intent_and_nonsense_is_refused(tmp_path):
    assert load_phrases().keys() == load().by_id.keys()
    (tmp_path / "bad.yaml").write_text("- just\n- a list\n")
    with pytest.raises(ValueError, match=r"expected e\.g\."):
        load_phrases(tmp_path / "bad.yaml")
