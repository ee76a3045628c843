"""The fold against a plain oracle over the log, under duplicates, disorder, wrong clocks and crashes."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from features.canonical import canonical_event
from features.events import EventKind
from features.fold import effective_ms, fold
from features.state import (
    ALLOWED_LATENESS_MS,
    UserState,
    Verdict,
)
from features.windows import HALF_LIVES_S
from tests.features import fold_oracle as oracle
from tests.features.shopper_events import DATA, START_MS, apply, event

SECOND_MS, HOUR_MS, DAY_MS = 1000, 3_600_000, 86_400_000
IN_1970_MS, IN_2100_MS = 1000, 4_102_444_800_000
KINDS = st.sampled_from([*DATA, "chat_opened", "help_page_opened", "sign_in_failed", "unheard_of"])
TOLD = st.fixed_dictionaries(
    {},
    optional={
        "order_id": st.sampled_from(["o1", "o2", "o3"]), "delay_days": st.sampled_from([0.0, 2.5, 9.0]),
        "quantity": st.integers(0, 5), "query": st.sampled_from(["parcel", "refund"]), "topic": st.just("Returns"),
        "text": st.sampled_from(["hello", "where is it"]), "page": st.sampled_from(["help", "cart"]),
    },
)  # fmt: skip
BEHIND_MS = st.one_of(
    st.just(0), st.integers(-2 * 60_000, 60_000), st.integers(0, 2 * HOUR_MS), st.integers(0, 2 * DAY_MS),
)  # fmt: skip


def said(state, now_ms):
    """What a state says of its user, in the oracle's words; counts apart."""
    return {
        "session": (state.session_start_ms, state.session_events),
        "last": {kind: tally.last_ms for kind, tally in state.tallies.items()},
        "recent": [(one.kind, one.at_ms, one.page) for one in state.recent],
        "orders": {key: (order.status, order.at_ms, order.delay_days) for key, order in state.orders.items()},
        "failures": {kind: (one.what, one.error, one.at_ms) for kind, one in state.failures.items()},
        "cart": state.cart_quantity,
        "texts": [(state.last_search, state.last_search_ms), (state.last_help_topic, state.last_help_ms),
                  (state.last_text, state.last_text_ms)],
        "locale": state.locale,
        "within": [state.events_within(window_s, now_ms) for window_s in oracle.TILES],
    }  # fmt: skip


def expected(applied, now_ms):
    return {
        "session": oracle.session(applied),
        "last": oracle.last_ms(applied),
        "recent": oracle.recent(applied),
        "orders": oracle.orders(applied),
        "failures": oracle.failures(applied),
        "cart": oracle.cart(applied),
        "texts": [oracle.text(applied, name) for name in ("query", "topic", "text")],
        "locale": (applied and oracle.newest(applied).event.locale) or "",
        "within": [oracle.events_within(applied, window_s, now_ms) for window_s in oracle.TILES],
    }


def assert_equal_counts(state, applied, now_ms):
    for kind in EventKind:
        for half_life_s in HALF_LIVES_S:
            told = oracle.count(applied, kind, half_life_s, now_ms)
            assert state.count(kind, half_life_s, now_ms) == pytest.approx(told, rel=1e-9, abs=1e-300)


class Shopping(RuleBasedStateMachine):
    """One user in one partition: records in, commits, crashes that lose what was not committed and read it again."""

    @initialize()
    def start(self):
        self.state, self.partition, self.applied = UserState(), oracle.Partition(), []
        self.log_ms, self.records = START_MS, []
        self.commit()

    @rule(kind=KINDS, told=TOLD, passed_ms=st.just(0) | st.integers(0, 40 * 60_000), behind_ms=BEHIND_MS,
          locale=st.sampled_from(["en", "de"]))  # fmt: skip
    def happens(self, kind, told, passed_ms, behind_ms, locale):
        self.log_ms += passed_ms
        self._send(event(kind, START_MS, f"e{len(self.records)}", locale, **told), self.log_ms - behind_ms)

    @rule(event_ms=st.sampled_from([IN_1970_MS, IN_2100_MS]), kind=KINDS)
    def a_clock_is_absurd(self, kind, event_ms):
        self._send(event(kind, START_MS, f"e{len(self.records)}"), event_ms)

    @rule(days=st.integers(1, 8))
    def nothing_happens_for_days(self, days):
        self.log_ms += days * DAY_MS

    @precondition(lambda self: self.records)
    @rule(place=st.integers(0, 100))
    def is_delivered_again(self, place):
        again, event_ms, _ = self.records[place % len(self.records)]
        self._send(again, event_ms)

    @rule()
    def commit(self):
        blob = self.state.to_bytes()
        self.committed = blob, self.partition.watermark_ms, [*self.partition.remembered], len(self.applied)
        self.uncommitted = []

    @rule()
    def crash(self):
        blob, self.partition.watermark_ms, self.partition.remembered, kept = self.committed
        self.state, lost = UserState.from_bytes(blob), self.uncommitted
        self.applied, self.uncommitted = self.applied[:kept], []
        for record in lost:
            self._fold(record)

    def _send(self, told, event_ms):
        record = told, event_ms, self.log_ms
        self.records.append(record)
        self._fold(record)

    def _fold(self, record):
        told, event_ms, log_ms = record
        verdict, at_ms, watermark_ms = self.partition.verdict(told.id, event_ms, log_ms)
        before = self.state.to_bytes()
        assert effective_ms(event_ms, log_ms) == at_ms
        assert fold(self.state, told, at_ms, watermark_ms) == verdict
        if verdict == "applied":
            self.applied = [*self.applied, oracle.Applied(told, at_ms)]
        else:
            assert self.state.to_bytes() == before
        self.uncommitted.append(record)

    @invariant()
    def the_state_says_what_the_log_says(self):
        now_ms = max(self.log_ms, self.state.last_ms)
        assert said(self.state, now_ms) == expected(self.applied, now_ms)

    def teardown(self):
        assert_equal_counts(self.state, self.applied, max(self.log_ms, self.state.last_ms))


TestShopping = Shopping.TestCase
TestShopping.settings = settings(max_examples=40, stateful_step_count=30, deadline=None)

WITHIN_LATENESS = st.lists(st.tuples(KINDS, st.integers(0, ALLOWED_LATENESS_MS)), max_size=25, unique_by=lambda e: e[1])


@given(WITHIN_LATENESS, st.randoms())
@settings(max_examples=60)
def test_any_order_of_arrival_within_the_lateness_gives_equal_counts(happened, random):
    events = [event(kind, START_MS + offset_ms, f"e{offset_ms}") for kind, offset_ms in happened]
    now_ms = START_MS + ALLOWED_LATENESS_MS
    states = []
    for arrived in (events, random.sample(events, len(events))):
        state, watermark_ms = UserState(), 0
        for one in arrived:
            assert fold(state, one, one.time_ms, watermark_ms) is Verdict.APPLIED
            watermark_ms = max(watermark_ms, one.time_ms)
        assert_equal_counts(state, [oracle.Applied(one, one.time_ms) for one in arrived], now_ms)
        states.append(state)
    one, other = states
    assert one.tiles == other.tiles
    assert (one.recent, one.last_search, one.cart_quantity) == (other.recent, other.last_search, other.cart_quantity)


@given(st.lists(st.tuples(KINDS, TOLD, st.integers(0, DAY_MS)), max_size=20))
@settings(max_examples=40)
def test_both_lanes_fold_to_the_same_bytes(happened):
    slow, fast = UserState(), UserState()
    for place, (kind, told, offset_ms) in enumerate(happened):
        one = event(kind, START_MS + offset_ms, f"e{place}", **told)
        apply(slow, one)
        apply(fast, canonical_event(one.to_json()))
    assert slow.to_bytes() == fast.to_bytes()
