from datetime import UTC, datetime

from hypothesis import given
from hypothesis import strategies as st

from features.notices import QueryRequested
from features.prompt import state_hash
from stream.refresh_queue import BURST_MS, QUIET_MS, Refresh, RefreshQueue

PLACE, NOW = ("queries", 0), 1_000_000
LATER = NOW + BURST_MS


def refresh(user, offset=0, is_trigger=False, asked_ms=NOW):  # noqa: FBT002
    request = QueryRequested(
        tenant="demo", user=user, state_hash=state_hash("p"), prompt="p", time=datetime(2026, 1, 1, tzinfo=UTC),
        is_trigger=is_trigger, origin=f"t[0]@{offset}",
    )  # fmt: skip
    return Refresh(request, PLACE, offset, asked_ms)


def users(taken):
    return [one.request.user for one in taken]


def test_the_newest_request_of_a_user_wins():
    queue = RefreshQueue()
    assert queue.put(refresh("u1", 1), NOW) == []
    assert [gone.offset for gone in queue.put(refresh("u1", 2), NOW)] == [1]
    assert [taken.offset for taken in queue.take(8, LATER)] == [2]


def test_users_on_trigger_pages_go_first():
    queue = RefreshQueue()
    for number, is_trigger in enumerate((False, True, False, True)):
        queue.put(refresh(f"u{number}", number, is_trigger), NOW)
    assert users(queue.take(3, LATER)) == ["u1", "u3", "u0"]


def test_who_waits_as_urgent_stays_urgent():
    queue = RefreshQueue()
    queue.put(refresh("a", 1, is_trigger=True), NOW)
    queue.put(refresh("b", 2, is_trigger=True), NOW)
    queue.put(refresh("a", 3), NOW)
    assert [(one.request.user, one.offset) for one in queue.take(2, NOW)] == [("a", 3), ("b", 2)]


def test_a_trigger_page_waits_for_nothing():
    queue = RefreshQueue()
    queue.put(refresh("a", 1), NOW)
    assert queue.take(8, NOW) == []
    queue.put(refresh("a", 2, is_trigger=True), NOW)
    assert [one.offset for one in queue.take(8, NOW)] == [2]


def test_a_burst_costs_one_embedding_and_ends():
    queue, taken = RefreshQueue(), []
    for step in range(0, 2 * BURST_MS, QUIET_MS // 2):
        queue.put(refresh("a", step, asked_ms=NOW + step), NOW + step)
        taken += [(NOW + step, one.offset) for one in queue.take(8, NOW + step)]
    assert [at_ms for at_ms, _ in taken] == [NOW + BURST_MS]
    assert queue.next_due_ms is not None


def test_a_quiet_user_is_due_when_the_quiet_is_over():
    queue = RefreshQueue()
    queue.put(refresh("a", 1), NOW)
    assert queue.next_due_ms == NOW + QUIET_MS
    assert users(queue.take(8, NOW + QUIET_MS)) == ["a"]


def test_what_waited_in_the_log_has_no_further_burst_to_wait_for():
    queue = RefreshQueue()
    queue.put(refresh("a", 1, asked_ms=NOW - BURST_MS), NOW)
    assert users(queue.take(8, NOW)) == ["a"]


def test_the_oldest_wait_counts_from_a_users_first_unanswered_request():
    queue = RefreshQueue()
    assert queue.oldest_ms is None
    for step in (0, 500):
        queue.put(refresh("a", step, asked_ms=NOW + step), NOW + step)
    assert queue.oldest_ms == NOW


def test_a_failed_request_waits_and_gives_way_to_a_newer_one():
    queue = RefreshQueue()
    failed = refresh("a", 1)
    assert queue.put_back(failed, NOW + 1000) == []
    assert queue.take(8, NOW) == []
    (again,) = queue.take(8, NOW + 1000)
    assert (again.offset, again.attempts) == (1, 1)
    queue.put(refresh("a", 2), NOW)
    assert queue.put_back(again, NOW) == [again]


def test_a_full_queue_drops_its_oldest_that_is_not_urgent():
    queue = RefreshQueue(capacity=2)
    queue.put(refresh("urgent", 1, is_trigger=True), NOW)
    queue.put(refresh("old", 2), NOW)
    assert users(queue.put(refresh("new", 3), NOW)) == ["old"]
    assert users(queue.take(8, LATER)) == ["urgent", "new"]


@given(st.lists(st.tuples(st.sampled_from("abcdef"), st.booleans(), st.booleans())), st.integers(1, 4))
def test_every_request_is_taken_or_told_gone_exactly_once(puts, capacity):
    queue = RefreshQueue(capacity)
    gone = []
    for number, (user, urgent, is_retry) in enumerate(puts):
        one = refresh(user, number, urgent)
        gone += queue.put_back(one, NOW) if is_retry else queue.put(one, NOW)
    assert len(queue) <= capacity
    assert sorted(one.offset for one in [*gone, *queue.take(100, LATER)]) == list(range(len(puts)))


def test_a_revoked_partition_is_forgotten():
    queue = RefreshQueue()
    queue.put(refresh("a", 5), NOW)
    queue.forget({PLACE})
    assert len(queue) == 0
