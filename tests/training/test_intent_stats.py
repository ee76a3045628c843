"""Statistics per intent depend on the log alone: not on who read it when, nor on what came too late."""

from hypothesis import given, settings
from hypothesis import strategies as st

from features.contract import from_ms
from features.decisions import Decision, Outcome
from training.intent_stats import LATENESS_MS, TILE_MS, WINDOW_MS, Tiles, closable_until_ms, deadline_ms, until_of

START_MS = 1_767_225_600_000
UNTIL_MS = START_MS + TILE_MS


def decision(number=0, at_ms=START_MS, *, intents=("a", "b"), kind="show", user="u1", tenant="demo"):
    prompts = [
        {"intent_id": i, "text": i, "locale": "en", "position": p, "score": 0.5, "propensity": 0.5}
        for p, i in enumerate(intents, start=1)
    ]
    return Decision.model_validate(
        {
            "decision_id": f"d{number}", "tenant": tenant, "user": user, "session": "s1", "decision": kind,
            "reason": "ranked", "time": from_ms(at_ms), "made_at": from_ms(at_ms), "prompts": prompts,
            "slate_propensity": 1.0, "candidates": {"intent_ids": [], "scores": []},
            "features": {"numeric": {}, "categorical": {}, "event_kinds": [], "event_ages_s": []},
            "versions": {"model": "m", "kb": "k", "features": "f", "policy": "p"},
            "embedding": {"state": "null", "space_id": "s", "state_hash": "h"},
            "trigger_event": "e", "trigger_type": "chat_opened", "trigger_offset": f"t[0]@{number}", "latency_ms": 1.0,
        }
    )  # fmt: skip


def outcome(number, kind="shown", at_ms=START_MS, *, intent=None, of=0, user="u1"):
    return Outcome(id=f"o{number}", decision_id=f"d{of}", kind=kind, time=from_ms(at_ms), user=user, intent_id=intent)


def told(*records, until_ms=UNTIL_MS):
    tiles = Tiles("demo")
    feed(tiles, records)
    tiles.close(until_ms)
    return tiles.snapshot()


def feed(tiles, records):
    for message, log_ms in records:
        (tiles.decided if isinstance(message, Decision) else tiles.told)(message, log_ms)


def counts(snapshot):
    return {s.intent_id: (s.shown, s.clicked, s.dismissed) for s in snapshot.intents}


def test_what_was_seen_clicked_and_dismissed_is_counted_once_a_decision():
    at = START_MS + 1
    clicks = [(outcome(n, "clicked", intent="b"), at) for n in (2, 3)]
    named = (outcome(4, "dismissed", intent="a"), at)
    snapshot = told((outcome(1), at), *clicks, named, (decision(), at))
    assert counts(snapshot) == {"a": (1, 0, 1), "b": (1, 1, 0)}
    assert {s.intents for s in snapshot.intents} == {2}


def test_only_confirmed_prompts_count_and_a_slate_may_be_dismissed_as_a_whole():
    seen_one = (decision(), 1), (outcome(1, intent="b"), 1), (outcome(2, "clicked", intent="a"), 1)
    assert counts(told(*seen_one)) == {"b": (1, 0, 0)}
    assert counts(told((decision(), 1), (outcome(1), 1), (outcome(2, "dismissed"), 1))) == {
        "a": (1, 0, 1),
        "b": (1, 0, 1),
    }
    assert counts(told((decision(), 1))) == counts(told((decision(kind="silent"), 1), (outcome(1), 1))) == {}


def test_what_the_log_has_too_late_changes_nothing_and_an_open_tile_is_not_counted():
    late = deadline_ms(START_MS)
    assert counts(told((decision(), late), (outcome(1), 1))) == {}
    assert counts(told((decision(), late - 1), (outcome(1), late - 1))) == {"a": (1, 0, 0), "b": (1, 0, 0)}
    assert counts(told((decision(), 1), (outcome(1), late))) == {}
    assert counts(told((decision(at_ms=UNTIL_MS), 1), (outcome(1, at_ms=UNTIL_MS), 1))) == {}


def test_a_snapshot_forgets_what_is_older_than_its_window_and_others_tenants_and_users():
    old = told((decision(), 1), (outcome(1), 1), until_ms=UNTIL_MS + WINDOW_MS)
    assert counts(old) == {}
    assert counts(told((decision(tenant="other"), 1), (outcome(1), 1))) == {}
    assert counts(told((decision(), 1), (outcome(1, user="u2"), 1))) == {}


def test_the_version_names_the_content_and_its_time():
    first = told((decision(), 1), (outcome(1), 1))
    other = told((decision(), 1), (outcome(1), 1), (outcome(2, "clicked", intent="a"), 1))
    assert first.version != other.version
    assert until_of(first.version) == until_of(other.version) == UNTIL_MS == first.until_ms
    assert {s.version for s in first.intents} == {first.version}


SPAN_MS = 6 * TILE_MS
at = st.integers(0, SPAN_MS)
delay = st.integers(0, 2 * LATENESS_MS)
kinds = st.sampled_from(["shown", "clicked", "dismissed"])
some_decisions = st.lists(st.tuples(st.just(None), st.integers(0, 5), at, delay), max_size=12)
some_outcomes = st.lists(st.tuples(kinds, st.integers(0, 5), at, delay), max_size=30)


def records_of(drawn):
    times = {}
    for place, (kind, of, at_ms, delay_ms) in enumerate(drawn):
        moment = START_MS + (times.setdefault(of, at_ms) if kind is None else at_ms)
        message = decision(of, moment) if kind is None else outcome(place, kind, moment, intent="a", of=of)
        yield message, moment + delay_ms


@settings(max_examples=60, deadline=None)
@given(some_decisions, some_outcomes, st.randoms(use_true_random=False))
def test_tiles_closed_on_the_way_equal_those_of_the_whole_log_read_in_any_order(decisions, outcomes, chance):
    records = list(records_of(decisions + outcomes))
    on_the_way = Tiles("demo")
    for message, log_ms in sorted(records, key=lambda record: record[1]):
        on_the_way.close(closable_until_ms(log_ms))
        feed(on_the_way, [(message, log_ms)])
    until_ms = START_MS + SPAN_MS + 10 * TILE_MS
    on_the_way.close(until_ms)
    chance.shuffle(records)
    assert told(*records, until_ms=until_ms) == on_the_way.snapshot()
