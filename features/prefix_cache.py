"""Keys and values of beginnings that prompts share, kept between calls, so that they are computed once."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Sequence
from typing import Generic, TypeVar

from features.token_tree import Tokens, shared_length

SHORTEST = 4
"""A shorter beginning is not worth the detour."""

CAPACITY = 4
"""How many beginnings are kept, the least lately used leaves first: with the default model 46 kB a token."""

Past = TypeVar("Past")


class PrefixCache(Generic[Past]):
    """Beginnings and their keys and values, of whatever type the backend has."""

    def __init__(self, compute: Callable[[Tokens], Past], cut: Callable[[Past, int], Past]) -> None:
        self._compute = compute
        self._cut = cut
        self._kept: OrderedDict[tuple[int, ...], Past] = OrderedDict()

    def learn(self, beginning: Tokens) -> None:
        """Computes and keeps a beginning, unless it is too short or known already as the beginning of another."""
        wanted = tuple(beginning)
        if len(wanted) < SHORTEST or any(shared_length(kept, wanted) == len(wanted) for kept in self._kept):
            return
        self._kept[wanted] = self._compute(wanted)
        if len(self._kept) > CAPACITY:
            self._kept.popitem(last=False)

    def shared(self, sequences: Sequence[Tokens]) -> tuple[int, Past | None]:
        """(length, keys and values) of the longest known beginning of all the sequences; (0, None) without one.

        Every sequence keeps at least one token of its own.
        """
        least, most = min(map(tuple, sequences)), max(map(tuple, sequences))
        common = min(shared_length(least, most), min(map(len, sequences)) - 1)
        found = max(self._kept, key=lambda kept: shared_length(kept, least), default=())
        length = min(shared_length(found, least), common)
        if length < SHORTEST:
            return 0, None
        self._kept.move_to_end(found)
        return length, self._cut(self._kept[found], length)
