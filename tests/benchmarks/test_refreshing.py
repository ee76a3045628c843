"""The simulated embedder and the replay, on visits whose cost is known."""

from __future__ import annotations

from datetime import UTC, datetime

from features.canonical import canonical_event
from features.contract import from_ms
from features.events import EventData, UserEvent
from features.notices import QueryRequested
from features.prompt import state_hash
from stream.refresh_queue import BURST_MS, QUIET_MS
from tests.benchmarks.refreshing import Embedder, Spent, Visited, replay

START_MS = 1_735_689_600_000


def words(text):
    return len(text.split())


def request(user, prompt, *, is_trigger=True):
    return QueryRequested(
        tenant="demo", user=user, state_hash=state_hash(prompt), prompt=prompt, time=datetime.now(UTC),
        is_trigger=is_trigger, origin="visits[0]@1",
    )  # fmt: skip


def visit(user, second, kind, need=None, **data):
    at_ms = START_MS + 1000 * second
    event = UserEvent(id=f"{user}-{second}", type=kind, time=from_ms(at_ms), user=user, data=EventData(**data))
    return Visited(canonical_event(event.to_json()), at_ms, 0, need)


def test_a_vector_is_there_when_its_tokens_are_computed_and_not_before():
    spent = Spent()
    embedder = Embedder(words, 10.0, spent)
    embedder.ask(request("u1", "one two three four five"), 1000)
    embedder.work(1499)
    assert embedder.found("demo:u1", state_hash("one two three four five"))[0] == "null"
    embedder.work(1500)
    assert embedder.found("demo:u1", state_hash("one two three four five"))[0] == "fresh"
    assert embedder.found("demo:u1", state_hash("other")) == ("stale", state_hash("one two three four five"))
    assert (spent.tokens, spent.busy_ms) == (5, 500.0)


def test_equal_prompts_of_two_users_are_computed_once():
    spent = Spent()
    embedder = Embedder(words, 1000.0, spent)
    for number in range(3):
        embedder.ask(request(f"u{number}", "one two"), 1000 * number)
        embedder.work(1000 * number + 500)
    assert spent.tokens == 2
    assert dict(spent.answered) == {"superseded": 0, "computed": 1, "cached": 2}
    assert spent.prompts == {state_hash("one two"): "one two"}


def test_a_burst_costs_its_last_prompt():
    spent = Spent()
    embedder = Embedder(words, 1000.0, spent)
    for number in range(4):
        embedder.ask(request("u1", f"prompt {number} so far", is_trigger=False), number * QUIET_MS // 2)
    embedder.work(BURST_MS + 1000)
    assert (spent.tokens, spent.answered["superseded"]) == (4, 3)
    assert embedder.found("demo:u1", state_hash("prompt 3 so far"))[0] == "fresh"


def test_views_of_pages_cost_nothing_and_every_event_counts_below():
    spent = replay(
        [
            visit("u1", 0, "searched", query="blue coat"),
            *(visit("u1", second, "page_viewed", page="home") for second in range(1, 10)),
        ],
        words,
        1000.0,
    )
    assert (spent.events, spent.requests, spent.answered["computed"]) == (10, 1, 1)
    assert spent.tokens_every_event == 10 * spent.tokens
    assert spent.vs_every_event == 0.1


def test_a_change_of_need_is_counted_once_and_losing_it_is_none():
    needs = [None, "track", "track", "refund", None, "refund"]
    visits = [visit("u1", second, "page_viewed", need, page="home") for second, need in enumerate(needs)]
    assert replay(visits, words, 1000.0).need_changes == 3


def test_decisions_find_what_was_ready_and_keep_the_prompt_whose_vector_they_had():
    spent = replay(
        [
            visit("u1", 0, "help_page_opened", "track", topic="parcels"),
            visit("u1", 60, "help_page_opened", "track", topic="refunds"),
            visit("u1", 120, "page_viewed", "track", page="help"),
        ],
        words,
        1000.0,
    )
    assert dict(spent.queries) == {"null": 1, "stale": 1, "fresh": 1}
    first, second, third = spent.moments
    assert (first.served, second.served, third.served) == (None, first.prompt, third.prompt)
    assert "refunds" in second.prompt


def test_a_second_decision_has_its_vector_when_it_comes_before_the_next_one():
    slow = replay(
        [visit("u1", second, "help_page_opened", "track", topic=f"topic {second}") for second in (0, 60, 61)],
        words,
        10.0,
    )
    first, second, _ = slow.moments
    assert first.late_ms == 100 * words(first.prompt)
    assert second.late_ms is None
