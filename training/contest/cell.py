"""One cell of the comparison: the log of a world at one semantic share, and what was behind every request.

The need of a request is the truth that only a simulator knows. It is what rankers are tested on, never trained on.
"""

from __future__ import annotations

import hashlib
import inspect
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from types import ModuleType

import numpy as np
from numpy.typing import NDArray

from features.contract import from_ms
from features.knowledge import KnowledgeBase
from features.schema import fingerprint
from training import belief, choices, dials, example_files, habits, needs, orders, science_world, shop, words, world
from training.dataset import Dataset, build
from training.science_world import Request, requests
from training.trainer import Progress
from training.words import Phrases
from training.world import World

F32 = NDArray[np.float32]
_CODE: tuple[ModuleType, ...] = (belief, choices, dials, habits, needs, orders, science_world, shop, words, world)


@dataclass(frozen=True, slots=True)
class CellName:
    """Which world, how much its words tell, and how long it is logged: `rounds` visits of each of `users`."""

    seed: int
    share: float
    users: int
    rounds: int

    def __str__(self) -> str:
        return f"w{self.seed}-s{self.share:g}-{self.users}x{self.rounds}"


@dataclass(frozen=True, eq=False)
class Cell:
    """B seen slates in order of event time.

    `need` i64[B] is the intent that the shopper needs (-1 = none, solved, or no longer eligible), `bayes` and `blind`
    f32[B,N] are the posterior over needs given the visit so far, with and without its words; `prompt_of` maps each
    state hash to its prompt.
    """

    dataset: Dataset
    need: NDArray[np.int64]
    bayes: F32
    blind: F32
    prompt_of: Mapping[str, str]

    @cached_property
    def test_from(self) -> int:
        """The first request of the test: the end of the log, about as long as the last round of visits."""
        first, last = int(self.dataset.made_ms.min()), int(self.dataset.made_ms.max())
        days = (from_ms(last) - from_ms(first)).days + 1
        border_ms = last - (last - first) // max(days, 1)
        return int(np.searchsorted(self.dataset.made_ms, border_ms))


def cell(name: CellName, kb: KnowledgeBase, phrases: Phrases, folder: Path, progress: Progress | None = None) -> Cell:
    """The cell, made once and kept in `folder` by its name and by the code of the world."""
    stem = f"{name}-{_version(kb, phrases)}"
    examples, behind = folder / f"{stem}.parquet", folder / f"{stem}.npz"
    if not behind.exists():
        made = _make(name, kb, phrases, progress)
        example_files.write(made.dataset, examples)
        hashes = sorted(made.prompt_of)
        hidden = folder / f".{stem}.part.npz"
        np.savez_compressed(
            hidden,
            need=made.need,
            bayes=made.bayes.astype(np.float16),
            blind=made.blind.astype(np.float16),
            hashes=np.array(hashes),
            prompts=np.array([made.prompt_of[told] for told in hashes]),
        )
        hidden.replace(behind)
    told = np.load(behind)
    prompts = dict(zip(told["hashes"].tolist(), told["prompts"].tolist(), strict=True))
    bayes, blind = told["bayes"].astype(np.float32), told["blind"].astype(np.float32)
    return Cell(example_files.read(examples), told["need"], bayes, blind, prompts)


def _make(name: CellName, kb: KnowledgeBase, phrases: Phrases, progress: Progress | None) -> Cell:
    told = replace(dials.SCIENCE, semantic_share=name.share, users=name.users)
    place = World(kb, phrases, name.seed, told)
    made: list[Request] = []
    for request in requests(place, kb, name.rounds):
        made.append(request)
        if progress is not None:
            progress(f"live through {name}", request.session.number % name.users, name.users)
    ids = tuple(place.place)
    dataset = build((r.decision for r in made), (o for r in made for o in r.outcomes), ids)
    by_id = {r.decision.decision_id: r for r in made}
    chosen = [by_id[decision_id] for decision_id in dataset.decision_id]
    need = np.array([-1 if r.need is None else place.place[r.need] for r in chosen], np.int64)
    need = np.where(dataset.eligible[np.arange(len(need)), need], need, -1)
    bayes, blind = (np.array([getattr(r, what)[:-1] for r in chosen], np.float32) for what in ("posterior", "blind"))
    return Cell(dataset, need, bayes, blind, {r.decision.embedding.state_hash: r.prompt for r in chosen})


def _version(kb: KnowledgeBase, phrases: Phrases) -> str:
    """Names the world's laws, its knowledge base and how its prompts are worded: another one makes other cells."""
    told = [kb.version, fingerprint(), *science_world.bank(kb, phrases), *map(inspect.getsource, _CODE)]
    return hashlib.sha256("\n".join(told).encode()).hexdigest()[:10]
