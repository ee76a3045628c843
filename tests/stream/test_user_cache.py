"""Cached states: what was taken is gone until it is given back, and the bound holds."""

from __future__ import annotations

from features.state import UserState
from stream.user_cache import UserCache


def states(*users: str) -> dict[str, UserState]:
    return {user: UserState(locale=user) for user in users}


def test_a_taken_state_is_not_known_until_it_is_given_back():
    cache = UserCache()
    cache.give(0, states("a", "b"))
    taken = cache.take(0, ["a", "c"])
    assert (list(taken), cache.peek(0, "a"), len(cache)) == (["a"], None, 1)
    cache.give(0, taken)
    assert cache.peek(0, "a") is taken["a"]


def test_the_state_unused_longest_goes_first():
    cache = UserCache(max_users=2)
    cache.give(0, states("a", "b"))
    cache.give(0, cache.take(0, ["a"]))
    cache.give(1, states("a"))
    assert [cache.peek(0, "a") is not None, cache.peek(0, "b"), cache.peek(1, "a") is not None] == [True, None, True]


def test_a_new_claim_forgets_its_partition_alone():
    cache = UserCache()
    cache.give(0, states("a"))
    cache.give(1, states("a"))
    cache.forget(0)
    assert (cache.peek(0, "a"), len(cache)) == (None, 1)
