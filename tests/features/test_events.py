"""The contracts: what is written is read, what is unknown is survived, what is wrong is explained."""

import json
from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from features.contract import InvalidEvent, from_ms, parse, to_ms
from features.decisions import Outcome, OutcomeKind
from features.events import MAX_EVENT_BYTES, REQUIRED, EventData, EventKind, OrderStatus, PageClass, UserEvent
from features.notices import DeadLetter

IDS = st.from_regex(r"[A-Za-z0-9][A-Za-z0-9._:+/-]{0,30}", fullmatch=True)
SLUGS = st.from_regex(r"[a-z][a-z0-9_]{0,20}", fullmatch=True)
USERS = st.from_regex(r"[A-Za-z0-9][A-Za-z0-9._@+-]{0,30}", fullmatch=True)
TEXTS = st.text(st.characters(exclude_categories=["Cs"]), max_size=40).map(str.strip)
MOMENTS = st.integers(946_684_800_000, 4_102_444_800_000).map(from_ms)
SAMPLE = {"page": PageClass.HELP, "query": "parcel", "quantity": 2, "order_id": "o1", "order_status": OrderStatus.LOST}
DATA = st.builds(
    EventData,
    page=st.none() | st.sampled_from(PageClass),
    query=st.none() | TEXTS,
    text=st.none() | TEXTS,
    quantity=st.none() | st.integers(0, 10_000),
    amount=st.none() | st.floats(0, 1e7),
    delay_days=st.none() | st.floats(0, 365),
    order_id=st.none() | IDS,
    order_status=st.none() | st.sampled_from(OrderStatus),
)


@st.composite
def user_events(draw):
    kind = draw(st.sampled_from(EventKind))
    needed = {name: SAMPLE[name] for name in REQUIRED.get(kind, ())}
    told = draw(DATA).model_copy(update=needed)
    return UserEvent(id=draw(IDS), type=kind.value, time=draw(MOMENTS), user=draw(USERS), tenant=draw(SLUGS), data=told)


@st.composite
def outcomes(draw):
    kind = draw(st.sampled_from(OutcomeKind))
    return Outcome(
        id=draw(IDS), decision_id=draw(IDS), kind=kind, time=draw(MOMENTS), user=draw(USERS),
        intent_id=draw(SLUGS), position=draw(st.none() | st.integers(1, 20)),
        text=draw(TEXTS.filter(bool)) if kind is OutcomeKind.TYPED_QUERY else None,
    )  # fmt: skip


def raw(**changes):
    event = {"id": "e1", "type": "chat_opened", "time": "2026-01-01T00:00:00Z", "user": "u1", "data": {}}
    return json.dumps({**event, **changes}).encode()


@settings(suppress_health_check=[HealthCheck.too_slow])
@given(user_events())
def test_an_event_comes_back_from_its_json(event):
    assert parse(UserEvent, event.to_json()) == event


@given(outcomes())
def test_an_outcome_comes_back_from_its_json(outcome):
    assert parse(Outcome, outcome.to_json()) == outcome


@given(user_events(), st.dictionaries(st.from_regex(r"x_[a-z]{1,9}", fullmatch=True), st.integers() | st.text()))
def test_unknown_fields_are_dropped_at_every_depth(event, unknown):
    told = json.loads(event.to_json())
    told |= unknown
    told["data"] |= unknown
    assert parse(UserEvent, json.dumps(told)) == event


def test_an_unknown_type_is_accepted_as_other():
    event = parse(UserEvent, raw(type="wishlist_updated"))
    assert (event.kind, event.type) == (EventKind.OTHER, "wishlist_updated")


def test_an_event_of_yesterday_without_todays_optional_fields_is_read():
    event = parse(UserEvent, b'{"id":"e1","type":"chat_opened","time":"2026-01-01T00:00:00+02:00","user":"u1"}')
    assert (event.tenant, event.locale, event.data) == ("demo", "en", EventData())
    assert event.time == datetime(2025, 12, 31, 22, tzinfo=UTC)


def test_times_are_written_in_utc_with_milliseconds():
    east = timezone(timedelta(hours=5, minutes=30))
    event = UserEvent(id="e", type="chat_opened", time=datetime(2026, 1, 1, 5, 30, tzinfo=east), user="u")
    assert json.loads(event.to_json())["time"] == "2026-01-01T00:00:00.000Z"
    assert from_ms(to_ms(event.time)) == event.time


def test_the_key_keeps_tenants_apart():
    assert parse(UserEvent, raw(tenant="shop-a")).key == "shop-a:u1"
    with pytest.raises(InvalidEvent, match=r"UserEvent\.user"):
        parse(UserEvent, raw(user="shop-b:u1"))


def test_contracts_are_frozen():
    with pytest.raises(ValueError, match="frozen"):
        parse(UserEvent, raw()).user = "other"


def test_a_dead_letter_says_where_its_record_stood():
    letter = DeadLetter(reason="bad_json", detail="x", topic="t", partition=3, offset=42, time=from_ms(10**12))
    assert letter.origin == "t[3]@42"


def data(kind, **told):
    return raw(type=kind, data=told)


MALFORMED = [
    (b"", "bad_json"),
    (b"{", "bad_json"),
    (b"nonsense", "bad_json"),
    (b'{"id": "e1",}', "bad_json"),
    (b"\xff\xfe\x00", "bad_json"),
    (b'{"id": "\xed\xa0\x80"}', "bad_json"),
    (rb'{"id": "e1", "user": "\ud800"}', "bad_json"),
    (b"[" * 10_000, "bad_json"),
    (b'{"a":' * 10_000 + b"1" + b"}" * 10_000, "bad_json"),
    (b"null", "incomplete"),
    (b"[]", "incomplete"),
    (b"7", "incomplete"),
    (b'"text"', "incomplete"),
    (b"{}", "missing_field"),
    (raw().replace(b'"id": "e1", ', b""), "missing_field"),
    (raw(id=7), "bad_field"),
    (raw(id=None), "bad_field"),
    (raw(id=""), "bad_field"),
    (raw(id="x" * 129), "bad_field"),
    (raw(id="a b"), "bad_field"),
    (raw(id="a\x00b"), "bad_field"),
    (raw(user="\u202etxet"), "bad_field"),
    (raw(user="z\u0301\u0302\u0303"), "bad_field"),
    (raw(tenant="Shop"), "bad_field"),
    (raw(tenant="a:b"), "bad_field"),
    (raw(type="Chat Opened"), "bad_field"),
    (raw(type=["chat_opened"]), "bad_field"),
    (raw(specversion="0.3"), "bad_field"),
    (raw(locale="english"), "bad_field"),
    (raw(time="yesterday"), "bad_field"),
    (raw(time="2026-01-01T00:00:00"), "bad_field"),
    (raw(time="1970-01-01T00:00:00Z"), "bad_field"),
    (raw(time="9999-01-01T00:00:00Z"), "bad_field"),
    (raw(time=1e308), "bad_field"),
    (raw(data=[]), "bad_field"),
    (raw(data="text"), "bad_field"),
    (data("searched"), "incomplete"),
    (data("searched", query=5), "bad_field"),
    (data("searched", query="x" * 201), "bad_field"),
    (data("page_viewed", page="moon"), "bad_field"),
    (data("cart_updated", quantity=-1), "bad_field"),
    (data("cart_updated", quantity=1.5), "bad_field"),
    (data("cart_updated", quantity=10**30), "bad_field"),
    (data("cart_updated", quantity="many"), "bad_field"),
    (data("chat_opened", text="x" * 2001), "bad_field"),
    (data("chat_opened", amount=float("nan")), "bad_field"),
    (data("chat_opened", amount=float("inf")), "bad_field"),
    (data("chat_opened", amount=1e308), "bad_field"),
    (data("chat_opened", currency="euro"), "bad_field"),
    (data("order_status_changed", order_id="o1"), "incomplete"),
    (data("order_status_changed", order_id="o1", order_status="vanished"), "bad_field"),
    (data("parcel_delayed", order_id="o1", delay_days=366), "bad_field"),
    (raw(padding="x" * MAX_EVENT_BYTES), "too_large"),
]


@pytest.mark.parametrize(("message", "reason"), MALFORMED, ids=range(len(MALFORMED)))
def test_a_malformed_event_is_refused_with_a_reason_and_a_text_that_helps(message, reason):
    with pytest.raises(InvalidEvent) as caught:
        parse(UserEvent, message)
    assert caught.value.reason == reason
    assert 20 <= len(str(caught.value)) <= 1000
    assert str(caught.value).isprintable()


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({"data": {"quantity": -1}}, r"UserEvent\.data\.quantity: .*greater than or equal to 0; found -1"),
        ({"type": "searched"}, r"UserEvent: searched needs data\.query"),
        ({"time": "2026-01-01T00:00:00"}, r"UserEvent\.time: .*timezone"),
    ],
)
def test_the_text_names_the_field_what_was_found_and_what_was_expected(changes, text):
    with pytest.raises(InvalidEvent, match=text):
        parse(UserEvent, raw(**changes))


def reason_of(message):
    try:
        parse(UserEvent, message)
    except InvalidEvent as refusal:
        return refusal.reason
    return "none"


@given(st.binary(max_size=300))
def test_any_bytes_either_parse_or_are_refused(message):
    assert reason_of(message) in {"none", "bad_json", "incomplete", "missing_field", "bad_field"}


JSON = st.recursive(
    st.none() | st.booleans() | st.floats() | st.text(max_size=9),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=9), inner, max_size=3),
    max_leaves=8,
)


@given(st.sampled_from(["id", "type", "time", "user", "tenant", "locale", "data", "source"]), JSON)
def test_any_json_in_any_field_either_parses_or_is_refused(field, value):
    try:
        event = parse(UserEvent, raw(**{field: value}))
    except InvalidEvent:
        return
    assert parse(UserEvent, event.to_json()).to_json() == event.to_json()


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({"kind": "clicked"}, "clicked needs intent_id"),
        ({"kind": "converted"}, "converted needs intent_id"),
        ({"kind": "typed_query"}, "typed_query needs text"),
        ({"kind": "stared_at"}, r"Outcome\.kind"),
        ({"kind": "shown", "position": 0}, r"Outcome\.position"),
        ({"kind": "shown", "intent_id": "Not A Slug"}, r"Outcome\.intent_id"),
    ],
)
def test_a_malformed_outcome_is_refused(changes, text):
    outcome = {"id": "o1", "decision_id": "d1", "time": "2026-01-01T00:00:00Z", "user": "u1", **changes}
    with pytest.raises(InvalidEvent, match=text):
        parse(Outcome, json.dumps(outcome))
