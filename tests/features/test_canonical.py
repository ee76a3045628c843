"""The fast lane accepts only what the contract accepts, with equal values, and all that we write ourselves."""

import json
from datetime import UTC

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from features.canonical import CanonicalData, CanonicalEvent, canonical_event
from features.contract import EARLIEST, LATEST, InvalidEvent, parse
from features.events import MAX_EVENT_BYTES, EventData, EventKind, OrderStatus, PageClass, UserEvent

EVENT = {"id": "e1", "type": "page_viewed", "time": "2026-01-01T00:00:00.000Z", "user": "a", "data": {"page": "help"}}
ATTRIBUTES = ("id", "source", "type", "kind", "time", "time_ms", "tenant", "user", "key", "locale")


def wrong(raw):
    """What the fast lane reads otherwise than the contract, which must have taken `raw` too; nothing if it left it."""
    ours = canonical_event(raw)
    if ours is None:
        return []
    theirs = parse(UserEvent, raw)
    differing = [name for name in ATTRIBUTES if getattr(ours, name) != getattr(theirs, name)]
    for name in EventData.model_fields:
        told, expected = getattr(ours.data, name), getattr(theirs.data, name)
        differing += [f"data.{name}"] if (told, type(told)) != (expected, type(expected)) else []
    return differing


def agrees(raw):
    """Whether the fast lane took `raw`, with the contract's values."""
    return canonical_event(raw) is not None and wrong(raw) == []


def written(**changes):
    return json.dumps({**EVENT, **changes}).encode()


def with_data(**data):
    return written(data={"page": "help", **data})


SPACES = "".join(
    map(chr, [*range(9, 14), *range(0x1C, 0x21), 0x85, 0xA0, 0x1680, *range(0x2000, 0x200D), 0x2028, 0x3000])
)
TEXT = st.text(st.characters(exclude_categories=["Cs"]) | st.sampled_from(SPACES), max_size=200)
NAME = st.from_regex(r"[A-Za-z0-9][A-Za-z0-9._:+/-]{0,127}", fullmatch=True)
SLUG = st.sampled_from(list(EventKind)) | st.from_regex(r"[a-z][a-z0-9_]{0,63}", fullmatch=True)
AMOUNT = st.floats(0, 365)
DATA = st.fixed_dictionaries(
    {
        "page": st.sampled_from(PageClass), "query": TEXT, "order_id": NAME, "quantity": st.integers(0, 10_000),
        "order_status": st.sampled_from(OrderStatus),
    },
    optional={
        **dict.fromkeys(["text", "topic", "item_title", "category", "carrier", "method", "error", "voucher"], TEXT),
        "change": TEXT, "path": TEXT, "amount": AMOUNT, "delay_days": AMOUNT,
        "currency": st.from_regex(r"[A-Z]{3}", fullmatch=True),
    },
)  # fmt: skip
EVENTS = st.builds(
    UserEvent, id=NAME, source=TEXT, type=SLUG, data=DATA.map(lambda data: EventData(**data)),
    time=st.datetimes(EARLIEST.replace(tzinfo=None), LATEST.replace(tzinfo=None), timezones=st.just(UTC)),
    tenant=st.from_regex(r"[a-z0-9][a-z0-9_-]{0,31}", fullmatch=True),
    user=st.from_regex(r"[A-Za-z0-9][A-Za-z0-9._@+-]{0,127}", fullmatch=True),
    locale=st.from_regex(r"[a-z]{2}(-[A-Z]{2})?", fullmatch=True),
)  # fmt: skip


@given(EVENTS)
@settings(max_examples=80)
def test_every_event_that_we_write_is_taken(event):
    assert agrees(event.to_json())


def test_it_has_the_fields_of_the_contract():
    assert list(CanonicalData.__struct_fields__) == list(EventData.model_fields)
    fields = {*UserEvent.model_fields, "kind", "key", "time_ms"} - {"specversion"}
    assert set(CanonicalEvent.__struct_fields__) == fields


WHOLE = b'{"id":"e1","type":"chat_opened","time":"2026-01-01T00:00:00Z","user":"a","data":{%s}}'
STRANGE = {
    "empty": b"",
    "null": b"null",
    "a list": b"[]",
    "only a brace": b"{",
    "a number": b"3",
    "nothing told": b"{}",
    "a byte-order mark": b"\xef\xbb\xbf" + written(),
    "trailing bytes": written() + b" x",
    "two": written() * 2,
    "a trailing NUL": written() + b"\0",
    "invalid UTF-8": WHOLE % b'"text":"\xff\xfe"',
    "an overlong NUL": WHOLE % b'"text":"\xc0\x80"',
    "a surrogate in UTF-8": WHOLE % b'"text":"\xed\xa0\x80"',
    "a lone surrogate": WHOLE % rb'"text":"\ud800"',
    "a lone low surrogate": WHOLE % rb'"text":"\udc00x"',
    "surrogates swapped": WHOLE % rb'"text":"\udc00\ud800"',
    "a raw control": WHOLE % b'"text":"a\nb"',
    "an unknown escape": WHOLE % rb'"text":"\x41"',
    "NaN": WHOLE % b'"amount":NaN',
    "infinity": WHOLE % b'"amount":Infinity',
    "1e400": WHOLE % b'"amount":1e400',
    "1e308": WHOLE % b'"amount":1e308',
    "-0.1": WHOLE % b'"amount":-0.1',
    "a leading zero": WHOLE % b'"quantity":01',
    "a plus": WHOLE % b'"quantity":+1',
    "a fraction of an item": WHOLE % b'"quantity":1.5',
    "a huge integer": WHOLE % (b'"quantity":' + b"9" * 400),
    "a number as a text": WHOLE % b'"text":3',
    "an unknown page": WHOLE % b'"page":"garage"',
    "deep nesting of the unknown": WHOLE % (b'"x":' + b'{"x":' * 10_000 + b"1" + b"}" * 10_000),
    "deep nesting": WHOLE % (b'"text":' + b"[" * 10_000 + b"]" * 10_000),
    "null data": written(data=None),
    "a null type": written(type=None),
    "no id": written(id=""),
    "a missing requirement": written(data={}),
    "a null requirement": with_data(page=None),
    "a list of data": written(data=[]),
    "another version": written(specversion="0.3"),
    "a tenant with a colon": written(tenant="a:b"),
    "a user with a blank": written(user="a b"),
    "a user with a line end": written(user="a\n"),
    "a tenant with a blank": written(tenant="demo a"),
    "an id with a line end": written(id="e\n"),
    "a long id": written(id="e" * 129),
    "a type in capitals": written(type="PageViewed"),
    "a locale": written(locale="EN"),
    "currency": with_data(currency="eur"),
    "a long query": with_data(query="q" * 201),
    "a long path": with_data(path="p" * 501),
    "a long text": with_data(text="t" * 2001),
    "no zone": written(time="2026-01-01T00:00:00"),
    "a leap second": written(time="2016-12-31T23:59:60Z"),
    "24 o'clock": written(time="2026-01-01T24:00:00Z"),
    "February 30th": written(time="2026-02-30T00:00:00Z"),
    "1970": written(time="1970-01-01T00:00:00Z"),
    "2300": written(time="2300-01-01T00:00:00Z"),
    "just too early": written(time="1999-12-31T23:59:59.999999Z"),
    "just too late": written(time="2200-01-01T00:00:00.0001Z"),
    "a year of five digits": written(time="12026-01-01T00:00:00Z"),
    "a date": written(time="2026-01-01"),
    "too large": written() + b" " * MAX_EVENT_BYTES,
}
"""What the contract refuses."""


@pytest.mark.parametrize("raw", STRANGE.values(), ids=STRANGE)
def test_what_the_contract_refuses_is_left_to_it(raw):
    assert canonical_event(raw) is None
    with pytest.raises(InvalidEvent):
        parse(UserEvent, raw)


UNUSUAL = {
    "a text as a number": WHOLE % b'"quantity":"3"',
    "a bool as a number": WHOLE % b'"quantity":true',
    "a number as time": written(time=1767225600),
    "a text of a number as time": written(time="1767225600"),
    "no seconds": written(time="2026-01-01T00:00Z"),
    "a comma": written(time="2026-01-01T00:00:00,123Z"),
    "an unknown field": written(extra=1),
    "an unknown field of data": with_data(extra=[{}]),
    "a blank around a query": with_data(query=" parcel"),
    "a wide blank after a query": with_data(query="parcel\u3000"),
    "an integer told as a float": with_data(quantity=3.0),
    "a number in a text": with_data(amount="3.5"),
    "a time with an offset": written(time="2026-01-01T02:00:00+02:00"),
    "UTC as an offset": written(time="2026-01-01T00:00:00+00:00"),
    "seven digits of a second": written(time="2026-01-01T00:00:00.1234567Z"),
    "a small z": written(time="2026-01-01T00:00:00z"),
    "nine digits of a second": written(time="2026-01-01T00:00:00.999999999Z"),
    "a derived attribute": written(kind="other"),
    "a repeated bad id": written()[:-1] + b',"id":"e1","user":"b"}',
}
"""What the contract takes, in a form that we would not write."""


@pytest.mark.parametrize("raw", UNUSUAL.values(), ids=UNUSUAL)
def test_what_is_taken_in_an_unusual_form_has_equal_values(raw):
    assert wrong(raw) == []
    assert parse(UserEvent, raw)


@pytest.mark.parametrize("raw", [written(), b"\n " + written().replace(b",", b" ,\t") + b"\r\n", written(source="")])
def test_blanks_between_tokens_and_empty_texts_are_canonical(raw):
    assert agrees(raw)


JSON_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | TEXT | st.sampled_from(["1", "help", "3.5", "en", "e1"]),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(TEXT, inner, max_size=2),
    max_leaves=4,
)
NUMBERS = st.from_regex(r"-?[0-9]{1,20}(\.[0-9]{1,30})?([eE][+-]?[0-9]{1,3})?", fullmatch=True)
TIMES = st.from_regex(
    r"(19|20|22)[0-9]{2}-[01][0-9]-[0-3][0-9][Tt _][0-2][0-9]:[0-6][0-9](:[0-6][0-9])?([.,][0-9]{1,10})?"
    r"(Z|z|[+-]0[0-2]:00)?",
    fullmatch=True,
)


@given(st.sampled_from(sorted(UserEvent.model_fields)), JSON_VALUES | TIMES)
@example("time", "2200-01-01T00:00:00.000000Z")
@settings(max_examples=120)
def test_any_value_in_any_field_is_taken_only_with_equal_values(name, value):
    assert wrong(written(**{name: value})) == []


@given(TIMES)
@settings(max_examples=120)
def test_any_time_is_taken_only_with_an_equal_value(told):
    assert wrong(written(time=told)) == []


@given(st.sampled_from([*EventData.model_fields]), JSON_VALUES)
@settings(max_examples=120)
def test_any_value_in_any_field_of_data_is_taken_only_with_equal_values(name, value):
    assert wrong(with_data(**{name: value})) == []


@given(
    st.sampled_from(["amount", "delay_days", "quantity"]),
    NUMBERS,
)
@settings(max_examples=120)
def test_any_number_is_taken_only_with_an_equal_value(name, number):
    assert wrong(WHOLE % f'"{name}":{number}'.encode()) == []


@given(st.data())
@settings(max_examples=120)
def test_damaged_bytes_are_taken_only_with_equal_values(data):
    raw = bytearray(with_data(query="wö ist\u3000es", amount=1.5, quantity=3))
    for _ in range(data.draw(st.integers(1, 3))):
        place, length = data.draw(st.integers(0, len(raw) - 1)), data.draw(st.integers(0, 2))
        raw[place : place + length] = data.draw(st.binary(max_size=2) | st.sampled_from([b'"', b"\\", b",", b" "]))
    assert wrong(bytes(raw)) == []


def test_the_bounds_of_time_are_the_contracts():
    for moment in (EARLIEST, LATEST):
        assert agrees(UserEvent.model_validate({**EVENT, "time": moment}).to_json())
