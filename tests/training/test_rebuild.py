"""A partition folded again from its records alone: counts that add up, states that a cut of batches cannot change."""

import random
from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from features.contract import from_ms
from features.events import UserEvent
from features.fold import effective_ms, fold
from features.ledger import Counts
from features.state import ALLOWED_LATENESS_MS, UserState
from stream.app import Worker
from stream.batching import Batch, Record
from stream.policy import PolicySettings
from stream.settings import WorkerSettings
from stream.topics import EVENTS
from training import rebuild as rebuilding
from training.rebuild import Logged, log_digest, rebuild, states_digest

NOON_MS = 1_735_732_800_000


def event(number, user="u1", at_ms=NOON_MS, **more):
    return UserEvent(
        id=f"e{number}", type="searched", time=from_ms(at_ms), user=user, data={"query": f"shoes {number}"}, **more
    )


def record(offset, told, *, log_ms=NOON_MS):
    return Logged(offset, log_ms, told.key.encode(), told.to_json())


def test_every_record_ends_in_one_place():
    late_ms = NOON_MS - ALLOWED_LATENESS_MS - 1
    found = rebuild(
        [
            record(0, event(0)),
            record(1, event(0)),
            record(2, event(1, at_ms=late_ms)),
            Logged(3, NOON_MS, b"demo:u1", b"{not json"),
            Logged(4, NOON_MS, b"demo:u1", None),
            Logged(5, NOON_MS, b"demo:u9", event(2).to_json()),
        ]
    )
    assert found.counts == Counts(applied=1, late=1, duplicate=1, dead_lettered=3)
    assert list(found.states) == ["demo:u1"]


def test_an_event_dated_2100_moves_the_watermark_no_further_than_the_brokers_clock_allows():
    found = rebuild([record(0, event(0, at_ms=4_102_444_800_000)), record(1, event(1))])
    assert found.counts.applied == 2
    assert found.watermark_ms == NOON_MS + 60_000


def test_a_user_with_late_events_only_has_no_state():
    late_ms = NOON_MS - ALLOWED_LATENESS_MS - 1
    assert list(rebuild([record(0, event(0)), record(1, event(1, "u2", late_ms))]).states) == ["demo:u1"]


def test_an_event_that_cannot_be_folded_is_as_if_it_had_never_been(monkeypatch):
    def fragile(state, told, at_ms, watermark_ms):
        verdict = fold(state, told, at_ms, watermark_ms)
        if told.id == "e1":
            raise ZeroDivisionError
        return verdict

    records = [record(n, event(n, at_ms=NOON_MS + n * 1000)) for n in range(3)]
    without = rebuild([records[0], records[2]])
    monkeypatch.setattr(rebuilding, "fold", fragile)
    found = rebuild(records)
    assert found.counts == Counts(applied=2, dead_lettered=1)
    assert found.digest == without.digest


def test_the_digest_leaves_out_what_decisions_wrote():
    found = rebuild([record(0, event(0))])
    live = {user: UserState.from_bytes(state.to_bytes()) for user, state in found.states.items()}
    for state in live.values():
        state.prompted(NOON_MS)
        state.prompt_hash = "0" * 64
    assert states_digest(live) == found.digest
    assert states_digest({}) != found.digest


def log(seed, size=120):
    """Records of a few users: some repeated, some out of order, some unreadable."""
    rng = random.Random(seed)
    records = []
    for offset in range(size):
        at_ms = NOON_MS + offset * 60_000 - rng.choice((0, 0, 0, 5_000, 3_000_000, 9_000_000))
        told = event(rng.randrange(size), f"u{rng.randrange(4)}", at_ms)
        broken = rng.random() < 0.05
        records.append(
            record(offset, told, log_ms=NOON_MS + offset * 60_000)._replace(**{"value": b"?"} if broken else {})
        )
    return records


@given(seed=st.integers(0, 50), cut=st.integers(1, 119))
def test_a_crash_between_any_two_records_changes_nothing(seed, cut):
    records = log(seed)
    whole = rebuild(records)
    assert whole.counts.records == len(records)
    first = rebuild(records[:cut])
    states = {user: UserState.from_bytes(state.to_bytes()) for user, state in first.states.items()}
    watermark_ms = first.watermark_ms
    for found in records[cut:]:
        if found.value != b"?":
            told = UserEvent.model_validate_json(found.value)
            at_ms = effective_ms(round(told.time.timestamp() * 1000), found.timestamp_ms)
            fold(states.setdefault(told.key, UserState()), told, at_ms, watermark_ms)
            watermark_ms = max(watermark_ms, at_ms)
    assert states_digest({user: state for user, state in states.items() if state.last_ms}) == whole.digest


async def test_a_worker_over_the_same_log_ends_with_the_same_states_and_counts(topics):
    worker = Worker(topics, WorkerSettings(), PolicySettings(), clock=lambda: NOON_MS)
    records, cuts = log(7), (0, 1, 40, 41, 100, 120)
    async with worker.outbox, worker.redis:
        epoch = (await worker.events.fence.claim(0)).epoch
        for first, end in pairwise(cuts):
            batch = tuple(Record(*found) for found in records[first:end])
            await worker.events.process(Batch(topics.named(EVENTS.name), 0, epoch, first, batch))
        ledger, rebuilt = worker.events.fence.ledger, rebuild(records)
        blobs = await ledger.load(0, list(rebuilt.states))
        counts = await ledger.totals([0])
    live = dict(zip(rebuilt.states, map(UserState.from_bytes, blobs), strict=True))
    assert counts == rebuilt.counts
    assert any(state.prompt_hash for state in live.values())
    assert states_digest(live) == rebuilt.digest


@given(order=st.permutations(range(3)))
def test_the_order_of_partitions_does_not_change_the_digest(order):
    logs = {number: log(number, size=20) for number in range(3)}
    assert log_digest({n: rebuild(logs[n]) for n in order}) == log_digest({n: rebuild(logs[n]) for n in range(3)})


def test_another_event_is_another_digest():
    assert rebuild([record(0, event(0))]).digest != rebuild([record(0, event(0, at_ms=NOON_MS + 1))]).digest
