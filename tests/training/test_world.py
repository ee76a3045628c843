"""The world is deterministic, its shoppers obey its oracle, and its drift moves the mix of needs."""

from itertools import pairwise

import numpy as np
import pytest

from features.contract import to_ms
from features.decisions import Decision, Outcome, OutcomeKind
from features.events import OrderStatus
from features.fold import fold
from features.knowledge import KnowledgeBase, load
from features.state import SESSION_GAP_MS, UserState, facts
from tests.training.builders import intent
from training.dials import Dials
from training.first_day import FIRST_DAY_MS, lived
from training.needs import SEASON_DAYS
from training.orders import NEXT
from training.visits import facts_of, order_facts
from training.words import load_phrases
from training.world import EXAMINATION, OWN, SIBLING, TYPED, UNSEEN, World

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


def world(seed=7, **dials):
    return World(SMALL, PHRASES, seed, Dials(**dials))


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


def test_whatever_is_needed_may_be_offered_by_what_the_shopper_is_known_to_have_done():
    log, needed = {}, set()
    for session in sessions(world(users=40), 400):
        events = log.setdefault(session.shopper.id, [])
        for event, need in zip(session.events, session.needs, strict=True):
            events.append(event)
            if need and need not in needed:
                needed.add(need)
                assert SMALL.by_id[need].eligibility.holds(facts_after(events)), need
    assert needed == set(SMALL.by_id)


def test_every_rule_of_our_own_knowledge_base_comes_true():
    own = World(load(), {}, 1, Dials(users=100))
    seen = [
        order_facts(session.orders) | {fact for event in session.events for fact in facts_of(event.kind)}
        for session in sessions(own, 300)
    ]
    assert [i.id for i in own.intents if not any(i.eligibility.holds(true) for true in seen)] == []


def test_needs_arise_pass_and_give_way_within_a_visit():
    calm, restless = (sessions(world(flip=flip), 300) for flip in (0.0, 0.5))
    changes = [sum(a != b and bool(a and b) for s in some for a, b in pairwise(s.needs)) for some in (calm, restless)]
    assert changes[0] == 0
    assert changes[1] > 100
    assert {(True, False), (False, True)} <= {(a is None, b is None) for s in calm for a, b in pairwise(s.needs)}


def test_orders_move_one_step_between_visits():
    before = {}
    for session in (world(users=5).session(n, FIRST_DAY_MS) for n in range(200)):
        for order in session.orders:
            status = before.get(order.id)
            assert status is None or (order.status in NEXT[status] if order.is_news else order.status is status)
            before[order.id] = order.status
    assert set(before.values()) >= {OrderStatus.REFUNDED, OrderStatus.CANCELLED, OrderStatus.DELIVERED}


def test_visits_have_the_pace_of_the_dial_and_never_split():
    gaps_s = [delay_s for s in sessions(world(pace_s=45.0), 400) for delay_s, _ in s.steps]
    assert np.mean(gaps_s) == pytest.approx(45.0, rel=0.15)
    assert max(gaps_s) * 1000 < SESSION_GAP_MS


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
    session = next(s for s in sessions(some) if s.needs[-1] == "track")
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
    idle = next(s for s in sessions(some) if s.needs[-1] is None)
    needy = next(s for s in sessions(some) if s.needs[-1] == "track")
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
    session = next(s for s in sessions(some) if s.needs[-1] == "track")
    decision = shown(some, session, ["track", "late"])
    for answer in filter(None, (some.respond(session, decision, rng, FIRST_DAY_MS) for _ in range(50))):
        assert answer[0].kind is OutcomeKind.SHOWN
        assert [o.time for o in answer] == sorted(o.time for o in answer)
        assert len({o.id for o in answer}) == len(answer)


def test_slates_are_answered_before_the_next_thing_is_done():
    some = world()
    session = next(s for s in sessions(some) if s.need == "track")
    decision = shown(some, session, ["track", "late", "sizes"])
    decision = decision.model_copy(update={"trigger_event": session.events[0].id})
    start_ms, next_ms = (to_ms(event.time) for event in session.events[:2])
    for seed in range(50):
        answer = some.respond(session, decision, np.random.default_rng(seed), start_ms)
        assert all(start_ms < to_ms(outcome.time) <= next_ms for outcome in answer)


def test_a_question_is_typed_below_slates_that_did_not_help():
    some, rng = world(), np.random.default_rng(5)
    session = next(s for s in sessions(some) if s.needs[-1] == "track")
    decision = shown(some, session, ["sizes"])
    answers = [some.respond(session, decision, rng, FIRST_DAY_MS) for _ in range(2000)]
    typed = [o for answer in answers for o in answer if o.kind is OutcomeKind.TYPED_QUERY]
    assert len(typed) / len(answers) == pytest.approx((1 - UNSEEN) * TYPED[1], rel=0.25)
    assert all(outcome.text for outcome in typed)


def test_the_position_bias_turns_examination():
    assert world(position_bias=0.0).examination(9) == 1.0
    assert world().examination(2) == EXAMINATION[1]
    assert world(position_bias=2.0).examination(2) == pytest.approx(EXAMINATION[1] ** 2)


def test_new_intents_are_needed_from_their_launch_on_only():
    launched = FIRST_DAY_MS + 1000
    some = world(new_intents=0.34, new_from_ms=launched)
    assert sum(share == 0 for share in some.need_mix(FIRST_DAY_MS).values()) == 2
    assert all(some.need_mix(launched).values())


def test_seasons_come_back_and_outages_last_a_day():
    some, day_ms = world(season=0.5, outages=0.3), 24 * 3_600_000
    assert some.need_mix(0) != some.need_mix(5 * day_ms)
    assert some.need_mix(0) == pytest.approx(some.need_mix(SEASON_DAYS * day_ms))
    failing = [some.needs.failing(day * day_ms) for day in range(1000)]
    assert np.mean([kind is not None for kind in failing]) == pytest.approx(0.3, abs=0.05)
    assert some.needs.failing(0) is some.needs.failing(day_ms - 1)


def test_dials_out_of_range_are_refused():
    with pytest.raises(ValueError, match="semantic_share is"):
        Dials(semantic_share=1.5)
    with pytest.raises(ValueError, match="expected at least one user"):
        Dials(users=0)


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
