"""Personal data is found however it is written, and what shoppers say of goods and prices stays."""

import random

import pytest

from features.knowledge import load
from features.redaction import redact
from features.untrusted import clean
from training.words import load_phrases

SEEDED = random.Random(5)
NAMES = ["jo", "anna.lopez", "j.r-smith+shop", "müller_77"]
HOSTS = ["example.com", "mail.example.co.uk", "post.example.de"]


def digits(count):
    return "".join(SEEDED.choice("0123456789") for _ in range(count))


def grouped(number, size, gap):
    return gap.join(number[start : start + size] for start in range(0, len(number), size))


def addresses():
    name, host = SEEDED.choice(NAMES), SEEDED.choice(HOSTS)
    spelled = host.replace(".", " dot ")
    return [
        f"{name}@{host}", f"{name} @ {host}", f"{name}(at){host}", f"{name} [at] {host.replace('.', ' [dot] ')}",
        f"{name} at {spelled}", f"{name} at {host}", f"{name}＠{host}", f"{name}@\u200b{host}", f"<{name}@{host}>",
    ]  # fmt: skip


def numbers():
    card, phone = f"4{digits(15)}", digits(10)
    iban = f"DE{digits(20)}"
    return [
        card, grouped(card, 4, " "), grouped(card, 4, "-"), grouped(card, 4, "\u2011"), grouped(card, 4, "\u00a0"),
        grouped(card, 4, "\u034f"), f"+44 {grouped(phone, 3, ' ')}", f"({phone[:3]}) {phone[3:6]}-{phone[6:]}",
        f"0049.{grouped(phone, 3, '.')}", iban, grouped(iban, 4, " "), f"GB29NWBK{digits(14)}",
        f"order A-{digits(4)}", f"order no. {digits(4)}", f"order number: {digits(3)}-{digits(3)}", f"#{digits(4)}",
        f"tracking JD{digits(14)}", f"customer {digits(6)}", digits(5), f"invoice RE{digits(2)}-{digits(4)}",
    ]  # fmt: skip


def secrets():
    return [
        f"sk-{digits(3)}abc{digits(6)}x", f"ghp_{digits(8)}AbCd{digits(8)}", f"eyJhbGciOiJI.eyJ{digits(12)}.abcd",
        f"AKIA{digits(4)}ABCDEFGH{digits(4)}", f"password: hunter{digits(2)}", f"my pin is {digits(4)}",
        f"cvv {digits(3)}", f"https://shop.example.com/reset?t={digits(9)}", f"GIFT-{digits(4)}-ABCD",
    ]  # fmt: skip


def core(canary):
    """What of a canary must not be seen: its digits, or its host."""
    plain = clean.__wrapped__.__globals__["visible"](canary).lower()
    found = "".join(character for character in plain if character.isdigit())
    return found if len(found) >= 3 else "example"


@pytest.mark.parametrize("kind", [addresses, numbers, secrets])
def test_of_a_thousand_labelled_canaries_almost_none_is_seen(kind):
    seen = [
        (canary, cleaned)
        for canary in (canary for _ in range(60) for canary in kind())
        if core(canary) in "".join((cleaned := clean(f"hello my data {canary} why")).split()).replace("-", "")
    ]
    assert len(seen) <= 0.005 * 60 * len(kind()), seen[:5]


def test_what_shoppers_ask_is_left_as_it_is():
    told = [phrase for said in load_phrases().values() for phrase in said]
    told += [text for intent in load().intents for text in (intent.title, intent.description, *intent.examples)]
    assert [text for text in told if redact(text) != text] == []


@pytest.mark.parametrize(
    "said",
    [
        "iphone 15 pro max", "rtx4090 card", "rtx 4090", "charged 49.90 twice", "size 42 or 44",
        "order from 3 days ago", "2 orders, 1 parcel", "skateboard for kids", "my password is wrong",
        "noise-cancelling-bluetooth-headphones", "arrived at home. please call",
    ],
)  # fmt: skip
def test_goods_sizes_prices_and_complaints_stay(said):
    assert redact(said) == said
