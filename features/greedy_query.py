"""Mode G's wording: what a prompt asks for, and how the generated query joins it before the slot (algorithm.md 2.1)."""

from __future__ import annotations

from features.prompt import SLOT

ASK = ' The question of this customer, in one sentence: "'
"""Stands where the slot stood; the base_id of mode G holds it."""

QUERY_TOKENS = 32
"""A query is no longer."""

CPU_SAMPLE = 300
"""On a CPU mode G costs ten times mode P: it is for samples of this many texts."""

_ENDS = ('"', "\n")


def asking(prompt: str) -> str:
    """The prompt with the ask in the slot's place."""
    return prompt.removesuffix(SLOT) + ASK


def with_query(prompt: str, query: str) -> str:
    """[prompt; query; slot].

    >>> with_query("A customer." + SLOT, "Where is it?")[11:51]
    ' The question of this customer, in one s'
    """
    return f'{asking(prompt)}{query}"{SLOT}'


def finished(continuation: str) -> bool:
    """Whether a continuation has closed its quote or its line."""
    return any(end in continuation for end in _ENDS)


def quoted(continuation: str) -> str:
    """The continuation up to the first closing quote or line end.

    >>> quoted('Where is my parcel?" Thanks')
    'Where is my parcel?'
    """
    return min((continuation.partition(end)[0] for end in _ENDS), key=len).strip()
