"""What the ranker's NDCG@10 loses by vectors that are stale or missing: each decision as it was, and always fresh.

Between the two stands the second phase: a decision that is made again when its own vector comes in time.
The need of the moment is the one relevant intent; candidates are the intents whose eligibility holds. Beside it stands
the ranker without any latent query: where that one loses nothing either, keeping NDCG says nothing about freshness.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from export.session import Ranker
from features.adapter import Adapter
from features.intent import Intent
from features.schema import encode
from tests.benchmarks.ratios import Ratio
from tests.benchmarks.refreshing import Moment
from training.metrics import ranks

K, RESAMPLES, CHUNK = 10, 2_000, 64
GAIN = float(sum(1.0 / np.log2(1.0 + np.arange(1, K + 1))))
"""What one relevant intent gains over the first K places together."""

F32 = NDArray[np.float32]
Floats = NDArray[np.float64]
Embed = Callable[[Sequence[str]], F32]


@dataclass(frozen=True, slots=True, eq=False)
class Kept:
    """NDCG@10 f64[M] of M decisions with vectors as they were, in the second phase, always fresh, and without any."""

    served: Floats
    second: Floats
    fresh: Floats
    null: Floats
    chance: float
    """NDCG@10 of a random order of the same candidates, on average."""
    sessions: NDArray[np.int64]

    @property
    def ratio(self) -> Ratio:
        """As it was over always fresh."""
        return kept_share(self.served, self.fresh, self.sessions)

    @property
    def second_ratio(self) -> Ratio:
        """In the second phase over always fresh."""
        return kept_share(self.second, self.fresh, self.sessions)

    @property
    def null_ratio(self) -> Ratio:
        """Without any latent query over always fresh."""
        return kept_share(self.null, self.fresh, self.sessions)


def sample(moments: Sequence[Moment], prompts: int, seed: int) -> list[Moment]:
    """Whole sessions in random order, as many as need at most so many different prompts to be embedded."""
    by_session: dict[int, list[Moment]] = {}
    for moment in moments:
        by_session.setdefault(moment.session, []).append(moment)
    taken: list[Moment] = []
    wanted: set[str] = set()
    for place in np.random.default_rng(seed).permutation(len(by_session)):
        some = by_session[list(by_session)[place]]
        more = wanted.union(*({m.prompt, m.served or m.prompt} for m in some))
        if len(more) > prompts:
            break
        taken, wanted = taken + some, more
    return taken


@dataclass(frozen=True, slots=True, eq=False)
class Model:
    """What ranks: a bundle's ranker and adapter, the intents' rules, and the reasoner's raw states of texts."""

    ranker: Ranker
    adapter: Adapter
    intents: Sequence[Intent]
    embed: Embed


def measure(moments: Sequence[Moment], model: Model) -> Kept:
    """Ranks every moment three times. Moments whose need is no candidate are left out; raises ValueError if all are."""
    texts = list(dict.fromkeys(text for m in moments for text in (m.prompt, m.served) if text is not None))
    vectors = dict(zip(texts, model.adapter.apply(model.embed(texts)), strict=True))
    race = _Ranked(moments, model.ranker, _candidates(moments, model))
    if not race.is_there.any():
        raise ValueError(f"none of {len(moments)} decisions has its need among the candidates: is it the same KB?")
    second = [m.served if m.late_ms is None else m.prompt for m in moments]
    asked = ([m.served for m in moments], second, [m.prompt for m in moments], [None] * len(moments))
    served, again, fresh, null = (
        race.ndcg([None if text is None else vectors[text] for text in texts]) for texts in asked
    )
    chance = float((GAIN / race.able.sum(axis=1))[race.is_there].mean())
    return Kept(served, again, fresh, null, chance, np.array([m.session for m in moments])[race.is_there])


def _candidates(moments: Sequence[Moment], model: Model) -> NDArray[np.bool_]:
    by_id = {intent.id: intent for intent in model.intents}
    rules = [by_id[intent_id].eligibility for intent_id in model.ranker.intent_ids]
    known = {facts: [rule.holds(facts) for rule in rules] for facts in {moment.facts for moment in moments}}
    return np.array([known[moment.facts] for moment in moments], np.bool_)


class _Ranked:
    """Moments ranked with any vectors: candidates bool[M, N], and the column of each moment's need."""

    def __init__(self, moments: Sequence[Moment], ranker: Ranker, able: NDArray[np.bool_]) -> None:
        self._moments, self._ranker, self.able = moments, ranker, able
        self._need = np.array([ranker.intent_ids.index(moment.need) for moment in moments])
        self.is_there = able[np.arange(len(moments)), self._need]

    def ndcg(self, vectors: Sequence[F32 | None]) -> Floats:
        """NDCG@10 of the moments whose need is there: with one relevant intent, 1 / log2(1 + its rank)."""
        rank = np.concatenate([self._rank(slice(at, at + CHUNK), vectors) for at in range(0, len(vectors), CHUNK)])
        return np.asarray(np.where(rank <= K, 1.0 / np.log2(1.0 + rank), 0.0)[self.is_there])

    def _rank(self, part: slice, vectors: Sequence[F32 | None]) -> NDArray[np.int64]:
        none = np.zeros(self._ranker.query_width, np.float32)
        query = np.array([none if vector is None else vector for vector in vectors[part]], np.float32)
        has_query = np.array([vector is not None for vector in vectors[part]])
        logits = self._ranker.score(encode([m.row for m in self._moments[part]]), query, has_query)
        return np.asarray(ranks(logits, self.able[part])[np.arange(len(query)), self._need[part]])


def kept_share(one: Floats, other: Floats, sessions: NDArray[np.int64], seed: int = 0) -> Ratio:
    """mean(one) / mean(other) and its 95 % interval, whole sessions drawn again.

    >>> kept_share(np.array([1.0, 0.5]), np.array([1.0, 1.0]), np.array([0, 1])).value
    0.75
    """
    _, place = np.unique(sessions, return_inverse=True)
    sums = np.array([np.bincount(place, side) for side in (one, other)])
    drawn = np.random.default_rng(seed).integers(sums.shape[1], size=(RESAMPLES, sums.shape[1]))
    ones, others = (side[drawn].sum(axis=1) for side in sums)
    ratios = ones[others > 0] / others[others > 0]
    low, high = np.quantile(ratios, (0.025, 0.975))
    return Ratio(float(sums[0].sum() / sums[1].sum()), float(low), float(high), sums.shape[1])
