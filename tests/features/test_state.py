"""What a user's state answers, its bounds and its bytes."""

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from features.dedupe import IDENTITY_BYTES
from features.events import EventKind
from features.intent import FACT_NAMES
from features.state import MAX_SEEN, RECENT_MS, StateFormatError, UserState, Verdict, facts
from tests.features.shopper_events import DATA, START_MS, apply, event, folded


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


def test_a_blob_of_another_format_names_both():
    with pytest.raises(StateFormatError, match="has format 7, this program reads 2"):
        UserState.from_bytes(msgspec.msgpack.encode([7, 0]))


def test_a_window_that_is_not_kept_is_refused_with_those_that_are():
    assert folded(event()).events_within(60, START_MS) == 1
    with pytest.raises(ValueError, match="no window of 61 s is kept: ask for one of"):
        UserState().events_within(61, START_MS)
