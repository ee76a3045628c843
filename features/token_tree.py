"""Token sequences as a tree of their shared beginnings: every distinct beginning is computed once, nothing is padded.

In a causal model a token's state depends on the tokens before it alone. So sequences that begin alike share those
states, and one run over the nodes of the tree, each seeing its ancestors only, gives what a run a sequence would give.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

I64 = NDArray[np.int64]
Tokens = Sequence[int]


@dataclass(frozen=True, slots=True, eq=False)
class TokenTree:
    """The N distinct beginnings of B sequences, parents before children.

    `ids` i64[N]; `depths` i64[N], 0 at a root; `sees` bool[N, N]: row i is true at i and at its ancestors;
    `ends` i64[B]: the node of each sequence's last token.
    """

    ids: I64
    depths: I64
    sees: NDArray[np.bool_]
    ends: I64


def grown(sequences: Sequence[Tokens], skip: int = 0) -> TokenTree:
    """The tree of the sequences without their first `skip` tokens, which are for the caller to account for.

    >>> tree = grown([[5, 6, 7], [5, 6, 9]])
    >>> tree.ids.tolist(), tree.depths.tolist(), tree.ends.tolist()
    ([5, 6, 7, 9], [0, 1, 2, 2], [2, 3])
    """
    nodes: dict[tuple[int, int], int] = {}
    parents: list[int] = []
    depths: list[int] = []
    ends = [_inserted(tokens[skip:], nodes, parents, depths) for tokens in sequences]
    sees = np.eye(len(nodes), dtype=np.bool_)
    for node, parent in enumerate(parents):
        if parent >= 0:
            sees[node] |= sees[parent]
    ids = [token for _, token in nodes]
    return TokenTree(np.array(ids, np.int64), np.array(depths, np.int64), sees, np.array(ends, np.int64))


def _inserted(tokens: Tokens, nodes: dict[tuple[int, int], int], parents: list[int], depths: list[int]) -> int:
    """The node of the last token; nodes are numbered as they are met."""
    at = -1
    for depth, token in enumerate(tokens):
        parent, at = at, nodes.setdefault((at, token), len(nodes))
        if at == len(parents):
            parents.append(parent)
            depths.append(depth)
    return at


def batches(sequences: Sequence[Tokens], budget: int) -> Iterator[list[int]]:
    """Places of the sequences in batches whose trees hold at most `budget` nodes, or one longer sequence.

    Sequences that begin alike come together.
    """
    order = sorted(range(len(sequences)), key=lambda place: tuple(sequences[place]))
    batch: list[int] = []
    size = 0
    for place in order:
        tokens = sequences[place]
        new = len(tokens) - (shared_length(sequences[batch[-1]], tokens) if batch else 0)
        if batch and size + new > budget:
            yield batch
            batch, size, new = [], 0, len(tokens)
        batch.append(place)
        size += new
    if batch:
        yield batch


def shared_length(one: Tokens, other: Tokens) -> int:
    """How many first tokens two sequences have in common.

    >>> shared_length([1, 2, 3], [1, 2, 4, 5])
    2
    """
    pairs = zip(one, other, strict=False)
    return next((place for place, (a, b) in enumerate(pairs) if a != b), min(len(one), len(other)))
