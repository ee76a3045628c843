"""The peer that we are held to computes what we compute: two programs, one answer, on one log of trouble."""

from __future__ import annotations

from features.canonical import canonical_event
from features.contract import parse
from features.events import UserEvent
from features.fold import effective_ms, fold
from features.state import UserState
from features.views import ORDER_STATE, USER_ACTIVITY, activity_values, order_values
from tests.benchmarks import hand_fold
from tests.benchmarks.equality import CHUNK_MS, CHUNKS, as_kept, differences, troubled
from tests.benchmarks.traffic import TRIGGERS, Traffic, events

NAMES = [*USER_ACTIVITY.features, *ORDER_STATE.features]
START_MS = 1_760_000_000_000
LOG_MS = START_MS + CHUNKS * CHUNK_MS


def ours(log: list[tuple[bytes, bytes]]) -> dict[str, list[object]]:
    states: dict[str, UserState] = {}
    watermark_ms = 0
    for _, raw in log:
        event = canonical_event(raw)
        assert event is not None
        at_ms = effective_ms(event.time_ms, LOG_MS)
        fold(states.setdefault(event.key, UserState()), event, at_ms, watermark_ms)
        watermark_ms = max(watermark_ms, at_ms)
    return {
        user: [(activity_values(state) | order_values(state))[name] for name in NAMES]
        for user, state in states.items()
        if state.last_ms
    }


def by_hand(log: list[tuple[bytes, bytes]]) -> dict[str, list[object]]:
    states: dict[str, hand_fold.State] = {}
    watermark_ms = 0
    for key, raw in log:
        event, at_ms = hand_fold.decoded(raw, LOG_MS)
        hand_fold.fold(states.setdefault(key.decode(), hand_fold.new_state()), event, at_ms, watermark_ms)
        watermark_ms = max(watermark_ms, at_ms)
    return {user: hand_fold.features(state) for user, state in states.items() if state["last"]}


def test_the_hand_written_fold_gives_our_features_on_duplicates_and_late_events() -> None:
    log = troubled(START_MS)
    assert list(differences(ours(log), by_hand(log))) == []


def test_a_different_value_or_user_is_a_difference() -> None:
    log = troubled(START_MS, chunks=8)
    found, other = ours(log), by_hand(log)
    other[next(iter(other))][0] = -1.0
    assert len(list(differences(found, other))) == 1
    other.popitem()
    assert "users" in next(differences(found, other))
    assert as_kept(1) == 1


def test_the_log_is_the_same_for_the_same_seed_and_is_what_our_gateway_writes() -> None:
    log = list(events(Traffic(), 3_000, START_MS))
    assert log == list(events(Traffic(), 3_000, START_MS))
    parsed = [parse(UserEvent, raw) for _, raw in log]
    assert [event.to_json() for event in parsed] == [raw for _, raw in log]
    assert [event.key.encode() for event in parsed] == [key for key, _ in log]
    assert 0.04 < sum(event.kind in TRIGGERS for event in parsed) / len(parsed) < 0.06
