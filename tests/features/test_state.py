"""The fold over a user's events against a plain oracle, and its bounds."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from features.contract import from_ms
from features.dedupe import IDENTITY_BYTES
from features.events import EventKind, UserEvent
from features.fold import effective_ms, fold
from features.intent import FACT_NAMES
from features.state import (
    ALLOWED_LATENESS_MS,
    DEDUPE_WINDOW_MS,
    MAX_ORDERS,
    MAX_RECENT,
    MAX_SEEN,
    RECENT_MS,
    SESSION_GAP_MS,
    Failure,
    Order,
    StateFormatError,
    UserState,
    Verdict,
    facts,
)
from features.windows import HALF_LIVES_S

START_MS = 1_790_000_000_000
DATA = {
    "page_viewed": {"page": "help"},
    "searched": {"query": "where is my parcel"},
    "cart_updated": {"quantity": 3},
    "order_placed": {"order_id": "o1"},
    "order_status_changed": {"order_id": "o1", "order_status": "in_transit"},
    "parcel_delayed": {"order_id": "o1", "delay_days": 2.5},
    "return_requested": {"order_id": "o1"},
    "refund_issued": {"order_id": "o1"},
    "payment_failed": {"method": "card", "error": "declined"},
    "voucher_rejected": {"voucher": "TEN", "error": "expired"},
}


def event(kind="chat_opened", at_ms=START_MS, event_id=None, locale="en", **data):
    return UserEvent(
        id=event_id or f"{kind}-{at_ms}", type=kind, time=from_ms(at_ms), user="a", locale=locale,
        data={**DATA.get(kind, {}), **data},
    )  # fmt: skip


def apply(state, *events, watermark_ms=0):
    return [fold(state, one, round(one.time.timestamp() * 1000), watermark_ms) for one in events]


def folded(*events):
    state = UserState()
    apply(state, *events)
    return state


def test_a_repeated_event_changes_nothing():
    state = folded(event())
    before = state.to_bytes()
    assert apply(state, event()) == [Verdict.DUPLICATE]
    assert state.to_bytes() == before


def test_a_late_event_changes_nothing_and_one_at_the_edge_counts():
    state = UserState()
    watermark_ms = START_MS + ALLOWED_LATENESS_MS
    assert apply(state, event(at_ms=START_MS - 1), watermark_ms=watermark_ms) == [Verdict.LATE]
    assert state == UserState()
    assert apply(state, event(), watermark_ms=watermark_ms) == [Verdict.APPLIED]


def test_a_repeat_older_than_the_dedupe_window_is_late():
    assert DEDUPE_WINDOW_MS >= ALLOWED_LATENESS_MS
    state = folded(event(event_id="old"))
    watermark_ms = START_MS + DEDUPE_WINDOW_MS + 1
    apply(state, event(at_ms=watermark_ms), watermark_ms=watermark_ms)
    assert len(state.seen_ids) == IDENTITY_BYTES
    assert apply(state, event(event_id="old"), watermark_ms=watermark_ms) == [Verdict.LATE]


def test_a_clock_that_runs_ahead_is_held_to_the_brokers():
    assert effective_ms(START_MS + 10**9, log_ms=START_MS) == START_MS + 60_000
    assert effective_ms(START_MS - 10**9, log_ms=START_MS) == START_MS - 10**9


def test_a_session_is_named_by_its_first_event_and_ends_after_the_gap():
    state = folded(event(at_ms=START_MS), event(at_ms=START_MS + SESSION_GAP_MS))
    assert (state.session_id, state.session_events) == (f"s{START_MS}", 2)
    state.prompted(START_MS)
    later_ms = START_MS + 2 * SESSION_GAP_MS + 1
    apply(state, event(at_ms=later_ms))
    assert (state.session_id, state.session_events, state.prompts_in_session) == (f"s{later_ms}", 1, 0)
    assert state.last_prompt_ms == START_MS


def test_an_out_of_order_event_does_not_rename_the_session():
    state = folded(event(at_ms=START_MS), event(at_ms=START_MS - 5000), event(at_ms=START_MS - 2 * SESSION_GAP_MS))
    assert (state.session_id, state.session_events, state.last_ms) == (f"s{START_MS}", 1, START_MS)


@given(st.lists(st.tuples(st.sampled_from(["searched", "chat_opened"]), st.integers(0, 10**7)), max_size=30))
def test_counts_equal_an_oracle_over_the_log_in_any_order(log):
    state = UserState()
    for place, (kind, offset_ms) in enumerate(log):
        apply(state, event(kind, START_MS + offset_ms, f"e{place}"))
    now_ms = START_MS + 10**7
    for kind in ("searched", "chat_opened"):
        ages_s = [(now_ms - START_MS - offset_ms) / 1000 for one, offset_ms in log if one == kind]
        for half_life_s in HALF_LIVES_S:
            oracle = sum(2 ** (-age_s / half_life_s) for age_s in ages_s)
            assert state.count(EventKind(kind), half_life_s, now_ms) == pytest.approx(oracle, rel=1e-9)
        newest_ms = max((START_MS + offset_ms for one, offset_ms in log if one == kind), default=0)
        assert state.last_kind_ms(EventKind(kind)) == newest_ms


@given(st.lists(st.integers(0, 10**6), unique=True, max_size=40))
def test_recent_events_are_the_newest_first_whatever_the_order_of_arrival(offsets_ms):
    state = folded(*(event(at_ms=START_MS + offset_ms) for offset_ms in offsets_ms))
    newest = sorted(offsets_ms, reverse=True)[:MAX_RECENT]
    assert [recent.at_ms - START_MS for recent in state.recent] == newest


@given(st.permutations(["order_placed", "order_status_changed", "parcel_delayed", "return_requested"]))
def test_an_orders_newest_news_win_in_any_order_of_arrival(arrivals):
    kinds = ["order_placed", "order_status_changed", "parcel_delayed", "return_requested"]
    state = folded(*(event(kind, START_MS + kinds.index(kind)) for kind in arrivals))
    newest = state.orders["o1"]
    assert (newest.status, newest.at_ms) == ("return_requested", START_MS + 3)


def test_a_delay_is_kept_until_another_is_told():
    delayed = event("parcel_delayed", START_MS)
    moved = event("order_status_changed", START_MS + 1)
    assert folded(delayed, moved).orders["o1"] == Order("in_transit", START_MS + 1, 2.5)
    assert folded(delayed, event("parcel_delayed", START_MS + 2, delay_days=4)).orders["o1"].delay_days == 4


def test_the_oldest_orders_are_forgotten_first():
    state = folded(*(event("order_placed", START_MS + place, order_id=f"o{place}") for place in range(20)))
    assert sorted(state.orders) == sorted(f"o{place}" for place in range(20 - MAX_ORDERS, 20))
    assert state.newest_order()[0] == "o19"


def test_placing_an_order_empties_the_cart():
    state = folded(event("cart_updated", START_MS))
    assert state.cart_quantity == 3
    apply(state, event("order_placed", START_MS + 1), event("cart_updated", START_MS - 1, quantity=9))
    assert state.cart_quantity == 0


def test_what_was_said_last_is_kept():
    state = folded(
        event("searched", START_MS + 2, query="refund"), event("searched", START_MS, query="parcel"),
        event("help_page_opened", START_MS, topic="Returns"), event("chat_opened", START_MS, text="hello"),
        event("voucher_rejected", START_MS + 1), event("payment_failed", START_MS, locale="es"),
    )  # fmt: skip
    assert (state.last_search, state.last_help_topic, state.last_text) == ("refund", "Returns", "hello")
    assert state.newest_failure() == Failure("TEN", "expired", START_MS + 1)
    assert state.failures["payment_failed"].what == "card"
    assert state.locale == "en"


def test_an_unknown_type_counts_as_other_and_supports_no_fact():
    state = folded(event("wishlist_updated"))
    assert state.recent[0].kind == "other"
    assert facts(state, START_MS) == frozenset()


@pytest.mark.parametrize("kind", [kind for kind in EventKind if kind is not EventKind.OTHER])
def test_every_kind_gives_its_recent_fact_for_a_day(kind):
    state = folded(event(kind.value))
    assert f"recent:{kind.value}" in facts(state, START_MS + RECENT_MS)
    assert f"recent:{kind.value}" not in facts(state, START_MS + RECENT_MS + 1)
    assert facts(state, START_MS) <= FACT_NAMES


def test_orders_and_cart_give_their_facts():
    state = folded(event("parcel_delayed"), event("order_placed", START_MS + 1, order_id="o2"), event("cart_updated"))
    assert {"order:any", "order:delayed", "order:placed"} <= facts(state, START_MS)
    assert "cart:nonempty" not in facts(state, START_MS)
    apply(state, event("cart_updated", START_MS + 9))
    assert "cart:nonempty" in facts(state, START_MS)


KINDS = st.sampled_from([*DATA, "chat_opened", "unheard_of"])


@given(st.lists(st.tuples(KINDS, st.integers(0, 10**8)), max_size=60), st.integers(0, 60))
@settings(max_examples=50)
def test_a_state_stored_between_any_two_events_folds_on_to_the_same_bytes(log, cut):
    events = [event(kind, START_MS + offset_ms, f"e{place}") for place, (kind, offset_ms) in enumerate(log)]
    whole = folded(*events)
    stored = UserState.from_bytes(folded(*events[:cut]).to_bytes())
    apply(stored, *events[cut:])
    assert stored == whole
    assert stored.to_bytes() == whole.to_bytes()


def test_the_most_talkative_shopper_stays_under_64_kib():
    state = UserState()
    for place in range(2 * MAX_SEEN):
        for kind in EventKind:
            told = event(
                kind.value, START_MS + place, f"{kind}{place}", query="包" * 200, topic="包" * 200, text="包" * 2000,
                error="包" * 200, method="包" * 200, order_id=f"{place}" + "o" * 120, quantity=10_000,
                order_status="return_in_transit", page="checkout",
            )  # fmt: skip
            assert apply(state, told) == [Verdict.APPLIED]
    assert len(state.seen_ids) == MAX_SEEN * IDENTITY_BYTES
    assert len(state.to_bytes()) < 64 * 1024


def test_no_bytes_give_a_fresh_state_that_comes_back():
    assert UserState.from_bytes(None) == UserState()
    assert UserState.from_bytes(UserState().to_bytes()) == UserState()


@pytest.mark.parametrize("blob", [b"", b"\xff", b"\x90", b"\x91\x63", b'{"v":1}', UserState().to_bytes() + b"x"])
def test_bytes_of_another_program_are_refused_with_advice(blob):
    with pytest.raises(StateFormatError, match="RGALIGN_PREFIX"):
        UserState.from_bytes(blob)
