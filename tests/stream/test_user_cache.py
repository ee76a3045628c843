"""Cached states: what was taken is gone until it is given back, and both bounds hold."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from features.state import UserState
from stream.user_cache import UserCache, decoded_bytes

MANY, SHORT, LONG = 100, b"x" * 1_000, b"x" * 60_000


def states(*users: str) -> dict[str, UserState]:
    return {user: UserState(locale=user) for user in users}


def test_a_taken_state_is_not_known_until_it_is_given_back():
    cache = UserCache()
    cache.give(0, states("a", "b"), {})
    taken = cache.take(0, ["a", "c"])
    assert (list(taken), cache.peek(0, "a"), len(cache)) == (["a"], None, 1)
    cache.give(0, taken, {})
    assert cache.peek(0, "a") is taken["a"]


def test_the_state_unused_longest_goes_first():
    cache = UserCache(max_users=2)
    cache.give(0, states("a", "b"), {})
    cache.give(0, cache.take(0, ["a"]), {})
    cache.give(1, states("a"), {})
    assert [cache.peek(0, "a") is not None, cache.peek(0, "b"), cache.peek(1, "a") is not None] == [True, None, True]


def test_long_states_leave_sooner():
    cache = UserCache(max_bytes=10 * decoded_bytes(len(LONG)))
    users = [f"u{number}" for number in range(MANY)]
    cache.give(0, states(*users), dict.fromkeys(users, LONG))
    assert len(cache) == 10
    cache.give(1, states(*users), dict.fromkeys(users, SHORT))
    assert sum(cache.peek(1, user) is not None for user in users) == MANY


def test_a_new_claim_forgets_its_partition_alone():
    cache = UserCache()
    cache.give(0, states("a"), {})
    cache.give(1, states("a"), {})
    cache.forget(0)
    assert (cache.peek(0, "a"), len(cache)) == (None, 1)


names = st.sampled_from("abcd")
steps = st.lists(
    st.tuples(st.sampled_from(["give", "take", "forget"]), st.integers(0, 1), names, st.sampled_from([SHORT, LONG]))
)


@given(steps)
def test_what_the_kept_states_take_is_known_whatever_happened(steps: list[tuple[str, int, str, bytes]]) -> None:
    cache, sizes = UserCache(), dict[tuple[int, str], int]()
    for step, partition, user, blob in steps:
        if step == "give":
            cache.give(partition, states(user), {user: blob})
            sizes[partition, user] = decoded_bytes(len(blob))
        elif step == "take":
            cache.take(partition, [user])
            sizes.pop((partition, user), None)
        else:
            cache.forget(partition)
            sizes = {key: size for key, size in sizes.items() if key[0] != partition}
    assert (cache.held_bytes, len(cache)) == (sum(sizes.values()), len(sizes))
