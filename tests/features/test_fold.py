"""The fold, case by case; its laws are in test_fold_laws.py."""

from hypothesis import given
from hypothesis import strategies as st

from features.dedupe import IDENTITY_BYTES
from features.fold import effective_ms
from features.state import (
    ALLOWED_LATENESS_MS,
    DEDUPE_WINDOW_MS,
    MAX_ORDERS,
    MAX_RECENT,
    SESSION_GAP_MS,
    Failure,
    Order,
    UserState,
    Verdict,
)
from tests.features.shopper_events import START_MS, apply, event, folded

IN_2100_MS = 4_102_444_800_000


def test_a_far_dated_event_makes_nothing_after_it_late():
    ahead_ms = effective_ms(IN_2100_MS, log_ms=START_MS)
    assert apply(UserState(), event(at_ms=START_MS), watermark_ms=ahead_ms) == [Verdict.APPLIED]


def test_a_broker_without_a_clock_gives_a_time_that_is_not_never():
    assert effective_ms(START_MS, log_ms=-(10**9)) == 1


def test_the_last_256_ids_of_a_talkative_user_are_remembered():
    events = [event(at_ms=START_MS + place * 1000, event_id=f"e{place}") for place in range(300)]
    state = folded(*events)
    assert len(state.seen_ids) == 256 * IDENTITY_BYTES
    assert set(apply(state, *events[-256:])) == {Verdict.DUPLICATE}


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
    watermark_ms = START_MS + DEDUPE_WINDOW_MS + 1000
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


def test_among_equal_times_the_later_in_the_log_wins():
    told = [("searched", {"query": "parcel"}), ("searched", {"query": "refund"}), ("help_page_opened", {"topic": "A"}),
            ("help_page_opened", {"topic": "B"}), ("chat_opened", {"text": "a"}), ("chat_opened", {"text": "b"}),
            ("cart_updated", {"quantity": 1}), ("cart_updated", {"quantity": 2})]  # fmt: skip
    state = folded(*(event(kind, START_MS, f"e{place}", **data) for place, (kind, data) in enumerate(told)))
    assert (state.last_search, state.last_help_topic, state.last_text) == ("refund", "B", "b")
    assert (state.cart_quantity, state.recent[0].kind) == (2, "cart_updated")
