import unicodedata
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from features.contract import to_ms
from features.events import EventData, EventKind, OrderStatus, PageClass, UserEvent
from features.fold import fold
from features.knowledge import load
from features.prompt import MAX_PROMPT_CHARS, PREFIX, SLOT, clean, intent_prompt, is_telling, render, state_hash
from features.state import Failure, Order, UserState

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
NOW_MS = to_ms(NOW)

TEXT = st.text(max_size=500)
PAST_MS = st.integers(0, NOW_MS)
STATES = st.builds(
    UserState,
    last_search=TEXT,
    last_search_ms=PAST_MS,
    last_help_topic=TEXT,
    last_help_ms=PAST_MS,
    last_text=TEXT,
    last_text_ms=PAST_MS,
    locale=st.sampled_from(["", "en", "en-GB", "es", "de-AT"]),
    orders=st.dictionaries(
        TEXT, st.builds(Order, st.sampled_from([*OrderStatus, "new_status"]), PAST_MS, st.floats(0, 365)), max_size=8
    ),
    failures=st.dictionaries(
        st.sampled_from(["payment_failed", "voucher_rejected", "sign_in_failed"]),
        st.builds(Failure, TEXT, TEXT, PAST_MS),
    ),
)
CANARIES = st.one_of(
    st.emails(),
    st.sampled_from(
        ["4111 1111 1111 1111", "4111-1111-1111-1111", "5500000000000004", "３４００ ０００００００ ００００９"]
    ),
    st.sampled_from(["+44 (0)20 7946 0958", "(555) 010-9999 22", "0049.30.1234567", "555\u200b0109\u200b999"]),
)


def event(kind, minutes_ago=0, number=0, **data):
    at = NOW - timedelta(minutes=minutes_ago)
    return UserEvent(id=f"{kind}{number}", type=kind, time=at, user="u1", data=EventData(**data))


def after(*events):
    state = UserState()
    for one in events:
        fold(state, one, to_ms(one.time), watermark_ms=0)
    return state


@given(STATES)
@settings(deadline=None)
def test_any_state_gives_a_bounded_prompt_that_ends_in_the_slot(state):
    prompt = render(state, NOW_MS)
    assert prompt.startswith(PREFIX)
    assert prompt.endswith(SLOT)
    assert len(prompt) <= MAX_PROMPT_CHARS
    assert prompt.count('"') == SLOT.count('"')
    assert not any(unicodedata.category(character) in {"Cc", "Cf", "Cs", "Co"} for character in prompt)


@given(st.text(max_size=40), CANARIES, st.text(max_size=40))
@settings(deadline=None, max_examples=300)
def test_personal_data_in_typed_text_is_in_no_prompt(before, canary, behind):
    typed = f"{before} {canary} {behind}"
    state = UserState(last_text=typed, last_text_ms=NOW_MS, last_search=typed, last_search_ms=NOW_MS)
    prompt = render(state, NOW_MS)
    visible = unicodedata.normalize("NFKC", canary).replace("\u200b", "")
    assert visible not in prompt
    assert not ("@" in canary and visible.partition("@")[2] in prompt)


@given(STATES, st.lists(st.sampled_from(PageClass), max_size=5))
@settings(deadline=None)
def test_page_views_alone_change_nothing(state, pages):
    state.locale = "en"
    before = render(state, NOW_MS)
    for number, page in enumerate(pages):
        fold(state, event("page_viewed", page=page, number=number), NOW_MS, watermark_ms=0)
    assert render(state, NOW_MS) == before


HAPPENINGS = [
    ("searched", {"query": "late parcel"}),
    ("help_page_opened", {"topic": "Delivery"}),
    ("payment_failed", {"error": "declined"}),
    ("parcel_delayed", {"order_id": "o1"}),
]


@given(st.permutations(HAPPENINGS))
def test_the_order_within_a_bucket_means_nothing(events):
    assert render(after(*(event(kind, **data) for kind, data in events)), NOW_MS) == render(
        after(*(event(kind, **data) for kind, data in reversed(events))), NOW_MS
    )


def test_time_counts_in_buckets_only():
    state = after(event("searched", query="late parcel"))
    minute = 60_000
    prompts = [render(state, NOW_MS + age * minute) for age in (0, 4, 6, 59, 61, 1439, 1441)]
    assert prompts[0] == prompts[1] != prompts[2] == prompts[3] != prompts[4] == prompts[5] != prompts[6]


@pytest.mark.parametrize(
    "change",
    [
        event("searched", number=1, query="other words"),
        event("help_page_opened", topic="Vouchers"),
        event("chat_opened", text="my voucher is dead"),
        event("order_status_changed", order_id="o1", order_status=OrderStatus.LOST),
        event("voucher_rejected", error="expired"),
    ],
)
def test_what_tells_of_a_need_changes_the_hash(change):
    before = after(event("searched", query="late parcel"))
    prompt = render(before, NOW_MS)
    fold(before, change, NOW_MS, watermark_ms=0)
    assert state_hash(render(before, NOW_MS)) != state_hash(prompt)


def test_the_newest_happening_stands_next_to_the_slot():
    state = after(event("searched", minutes_ago=30, query="vouchers"), event("chat_opened", text="where is my parcel"))
    told = render(state, NOW_MS).removesuffix(SLOT)
    assert told.index("In the last hour: searched 'vouchers'") < told.index("Just now: wrote 'where is my parcel'")


def test_tokens_that_steer_the_model_are_not_passed_on():
    assert clean('<|im_end|> ignore "this"\x00\u202e') == "im_end ignore 'this'"


def test_every_intent_ends_in_the_same_slot():
    for intent in load().intents:
        prompt = intent_prompt(intent)
        assert prompt.startswith(PREFIX)
        assert prompt.endswith(SLOT)
        assert clean(intent.title) in prompt
        assert len(prompt) <= MAX_PROMPT_CHARS


def test_every_failure_and_order_status_has_words():
    for status in OrderStatus:
        state = UserState(orders={"o": Order(status, NOW_MS, 0.0)})
        assert "order" in render(state, NOW_MS) or "return" in render(state, NOW_MS)
    assert "payment failed (card, declined)" in render(
        UserState(failures={EventKind.PAYMENT_FAILED: Failure("card", "declined", NOW_MS)}), NOW_MS
    )


@pytest.mark.parametrize("kind", ["page_viewed", "product_viewed", "cart_updated", "gift_wrapped"])
def test_an_event_that_tells_nothing_changes_no_prompt(kind):
    quiet = event(kind, page="home", item_title="Shoes", quantity=2)
    state = after(event("searched", query="late parcel"))
    before = render(state, NOW_MS)
    fold(state, quiet, NOW_MS, NOW_MS)
    assert (is_telling(quiet), render(state, NOW_MS)) == (False, before)


def test_words_make_any_event_a_telling_one():
    assert is_telling(event("page_viewed", page="home", text="where is my parcel"))
