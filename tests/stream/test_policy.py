"""The policy: silence has reasons in an order, and every propensity is the probability that it claims to be."""

from __future__ import annotations

from collections import Counter
from itertools import permutations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from features.contract import parse
from features.events import UserEvent
from stream.policy import (
    Asked,
    Choice,
    Considered,
    PolicySettings,
    by_probability,
    choose,
    item_propensity,
    slate_propensity,
)

IDS = ["track", "refund", "voucher", "cancel", "address", "invoice"]
P = np.array([0.5, 0.3, 0.2, 0.1, 0.08, 0.02], np.float32)
ALL, NONE = np.ones(6, bool), np.zeros(6, bool)
FRESH = Asked(now_ms=10**6, prompts_in_session=0, last_prompt_ms=0)


def chosen(asked: Asked = FRESH, eligible=ALL, taken=NONE, event_id: str = "e1", **changes: object) -> Choice:
    settings = PolicySettings(**changes)
    return choose(settings, asked, Considered(IDS, P, eligible, taken), settings.generator("demo", "u1", event_id))


settings_of = st.builds(
    PolicySettings,
    k=st.integers(1, 4),
    epsilon=st.floats(0, 1),
    swap=st.floats(0, 1),
    holdout=st.floats(0, 0.9),
)


@given(settings_of, st.integers(1, 6))
def test_slates_and_holdout_sum_to_one(settings: PolicySettings, n: int) -> None:
    k = min(settings.k, n)
    total = settings.holdout + sum(slate_propensity(settings, k, n, s) for s in permutations(range(n), k))
    assert total == pytest.approx(1.0)


@given(settings_of, st.integers(1, 6))
def test_an_items_propensity_is_the_sum_over_its_slates(settings: PolicySettings, n: int) -> None:
    k = min(settings.k, n)
    slates = {s: slate_propensity(settings, k, n, s) for s in permutations(range(n), k)}
    for rank in range(n):
        for place in range(k):
            summed = sum(p for s, p in slates.items() if s[place] == rank)
            assert item_propensity(settings, k, n, rank, place) == pytest.approx(summed)


def test_drawn_slates_have_the_frequencies_they_claim() -> None:
    changes = {"k": 2, "epsilon": 0.5, "swap": 0.4, "holdout": 0.2}
    drawn = [chosen(event_id=f"e{i}", eligible=np.array([1, 1, 1, 0, 0, 0], bool), **changes) for i in range(3000)]
    seen = Counter(tuple(o.index for o in c.slate) for c in drawn)
    claimed = {tuple(o.index for o in c.slate): c.propensity for c in drawn}
    assert len(claimed) == 7
    assert sum(claimed.values()) == pytest.approx(1.0)
    for slate, probability in claimed.items():
        assert seen[slate] / 3000 == pytest.approx(probability, abs=4 * (probability / 3000) ** 0.5)


def test_the_same_seed_user_and_event_choose_the_same() -> None:
    assert chosen(epsilon=1.0) == chosen(epsilon=1.0)
    assert chosen(epsilon=1.0) != chosen(epsilon=1.0, seed=1)


@pytest.mark.parametrize(
    ("reason", "changes"),
    [
        ("cap_reached", {"asked": Asked(10**6, 8, 0)}),
        ("cooldown", {"asked": Asked(10**6, 1, 10**6 - 999)}),
        ("nothing_eligible", {"eligible": NONE}),
        ("already_clicked", {"taken": np.array([1, 1, 1, 0, 0, 0], bool)}),
        ("below_floor", {"floor": 0.6}),
    ],
)
def test_silence_has_a_reason_and_is_certain(reason: str, changes: dict[str, object]) -> None:
    assert chosen(**changes) == Choice("silent", reason, 1.0)


def test_a_clicked_intent_is_not_offered_and_the_next_moves_up() -> None:
    choice = chosen(taken=np.array([1, 0, 0, 0, 0, 0], bool), epsilon=0, swap=0, holdout=0)
    assert [(o.index, o.position) for o in choice.slate] == [(1, 1), (2, 2), (3, 3)]


def test_what_is_not_eligible_is_never_explored() -> None:
    only = np.array([0, 1, 0, 1, 1, 0], bool)
    offered = {o.index for i in range(200) for o in chosen(event_id=f"e{i}", eligible=only, epsilon=1.0).slate}
    assert offered == {1, 3, 4}


def test_equal_scores_do_not_follow_the_order_of_input() -> None:
    flat = np.full(6, 0.3, np.float32)
    forward = [IDS[i] for i in by_probability(Considered(IDS, flat, ALL, NONE))]
    backward = [IDS[::-1][i] for i in by_probability(Considered(IDS[::-1], flat, ALL, NONE))]
    assert forward == backward


@pytest.mark.parametrize(
    ("event", "expected"),
    [
        (b'"type": "help_page_opened"', True),
        (b'"type": "page_viewed", "data": {"page": "order"}', True),
        (b'"type": "page_viewed", "data": {"page": "home"}', False),
        (b'"type": "never_heard_of"', False),
    ],
)
def test_triggers_are_kinds_and_pages(event: bytes, *, expected: bool) -> None:
    body = b'{"id": "e", "time": "2026-01-01T00:00:00Z", "user": "u", ' + event + b"}"
    assert PolicySettings().is_trigger(parse(UserEvent, body)) is expected


def test_the_version_names_the_settings() -> None:
    assert PolicySettings().version == PolicySettings().version != PolicySettings(floor=0.1).version
