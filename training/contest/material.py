"""What the comparison is made of: the cells that were lived through, and every prompt's vector, embedded once."""

from __future__ import annotations

from functools import cache as once
from functools import lru_cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from features.intent import Intent
from features.knowledge import KnowledgeBase, load
from features.models import ensure_reasoner
from features.vectors import Source, embed_kept, sources, state_input, text_input
from training.contest import cell as cells
from training.contest.queries import Encoded
from training.pooled_states import POOLINGS, PooledStates, pooled_id, split
from training.science_world import bank
from training.trainer import Progress
from training.words import load_phrases

F32 = NDArray[np.float32]
_STRETCH = 256
"""So many prompts are embedded between two writes: a stopped run loses no more."""


@lru_cache(maxsize=1)
def knowledge() -> KnowledgeBase:
    """The project's own knowledge base."""
    return load()


@lru_cache(maxsize=2)
def lived(name: cells.CellName, folder: Path) -> cells.Cell:
    """A cell, from `folder` or lived through and kept there."""
    return cells.cell(name, knowledge(), load_phrases(), folder)


@once
def prompts() -> tuple[str, ...]:
    """Every prompt of every cell: their number does not depend on worlds, shares or seeds."""
    return bank(knowledge(), load_phrases())


def reasoner(cache: Path, progress: Progress | None = None) -> Source:
    """The project's LLM, which gives every way to pool a prompt in one run."""
    folder = ensure_reasoner(cache, progress or (lambda *_: None))
    return Source(pooled_id(folder), once(lambda: PooledStates(folder)))


def fetch(cache: Path, progress: Progress | None = None) -> None:
    """Fetches the models into `cache` if they are absent."""
    reasoner(cache, progress)
    sources(cache, progress)


def embed(cache: Path, progress: Progress | None = None, part: tuple[int, int] = (0, 1)) -> None:
    """Embeds what is not in `cache` yet, stretch by stretch; `part` is (which, of how many) that share the work.

    A part is a run of neighbours: they begin alike, and what they share is computed once.
    """
    whole, (which, parts) = (*prompts(), *intent_prompts()), part
    told, source = whole[which * len(whole) // parts : (which + 1) * len(whole) // parts], reasoner(cache, progress)
    for start in range(0, len(told), _STRETCH):
        embed_kept(told[start : start + _STRETCH], cache, source)
        if progress is not None:
            progress("embed the prompts", min(start + _STRETCH, len(told)), len(told))
    _texts(cache)


@lru_cache(maxsize=4)
def encoded(cache: Path, pooling: str = POOLINGS[0]) -> Encoded:
    """The vectors of all prompts and of the active intents, pooled in one way, and the intents' texts."""
    told, source = prompts(), reasoner(cache)
    states, ours = (split(embed_kept(one, cache, source))[pooling] for one in (told, intent_prompts()))
    return Encoded(
        prompts=dict(zip(told, states, strict=True)),
        state=ours,
        text=_texts(cache),
        intent_prompts=intent_prompts(),
        families=tuple(intent.family for intent in _active()),
    )


@once
def intent_prompts() -> tuple[str, ...]:
    """The intents' side of the same slot."""
    return tuple(state_input(intent) for intent in _active())


def _texts(cache: Path) -> F32:
    """The active intents' text vectors f32[N, E]."""
    return embed_kept([text_input(intent) for intent in _active()], cache, sources(cache)[0])


def _active() -> list[Intent]:
    return [intent for intent in knowledge().intents if intent.status == "active"]
