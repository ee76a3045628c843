from datetime import UTC, datetime

from hypothesis import given
from hypothesis import strategies as st

from features.events import QueryRequested
from features.prompt import state_hash
from stream.refresh_queue import Refresh, RefreshQueue, Unfinished

PLACE = ("queries", 0)


def refresh(user, offset=0, is_trigger=False):  # noqa: FBT002
    request = QueryRequested(
        tenant="demo", user=user, state_hash=state_hash("p"), prompt="p", time=datetime(2026, 1, 1, tzinfo=UTC),
        is_trigger=is_trigger, origin=f"t[0]@{offset}",
    )  # fmt: skip
    return Refresh(request, PLACE, offset)


def users(taken):
    return [one.request.user for one in taken]


def test_the_newest_request_of_a_user_wins():
    queue = RefreshQueue()
    assert queue.put(refresh("u1", 1)) == []
    assert [gone.offset for gone in queue.put(refresh("u1", 2))] == [1]
    assert [taken.offset for taken in queue.take(8)] == [2]


def test_users_on_trigger_pages_go_first():
    queue = RefreshQueue()
    for number, is_trigger in enumerate((False, True, False, True)):
        queue.put(refresh(f"u{number}", number, is_trigger))
    assert users(queue.take(3)) == ["u1", "u3", "u0"]


def test_who_waits_as_urgent_stays_urgent():
    queue = RefreshQueue()
    queue.put(refresh("a", 1, is_trigger=True))
    queue.put(refresh("b", 2, is_trigger=True))
    queue.put(refresh("a", 3))
    assert [(one.request.user, one.offset) for one in queue.take(2)] == [("a", 3), ("b", 2)]


def test_a_full_queue_drops_its_oldest_that_is_not_urgent():
    queue = RefreshQueue(capacity=2)
    queue.put(refresh("urgent", 1, is_trigger=True))
    queue.put(refresh("old", 2))
    assert users(queue.put(refresh("new", 3))) == ["old"]
    assert users(queue.take(8)) == ["urgent", "new"]


@given(st.lists(st.tuples(st.sampled_from("abcdef"), st.booleans())), st.integers(1, 4))
def test_every_request_is_taken_or_told_gone_exactly_once(puts, capacity):
    queue = RefreshQueue(capacity)
    gone = [one for n, (user, urgent) in enumerate(puts) for one in queue.put(refresh(user, n, urgent))]
    assert len(queue) <= capacity
    assert sorted(one.offset for one in [*gone, *queue.take(100)]) == list(range(len(puts)))


def test_no_offset_is_committed_before_its_effect():
    unfinished = Unfinished()
    for offset in (5, 6, 7):
        unfinished.begin(PLACE, offset)
    unfinished.end(PLACE, 6)
    assert unfinished.committable() == {PLACE: 5}
    unfinished.end(PLACE, 5)
    assert unfinished.committable() == {PLACE: 7}
    unfinished.end(PLACE, 7)
    assert unfinished.committable() == {PLACE: 8}


def test_a_revoked_partition_is_forgotten():
    unfinished, queue = Unfinished(), RefreshQueue()
    unfinished.begin(PLACE, 5)
    queue.put(refresh("a", 5))
    unfinished.forget({PLACE})
    queue.forget({PLACE})
    assert unfinished.committable() == {}
    assert len(queue) == 0
