"""Scores for triggers: the latent queries fresh, stale or null, and one call of the ranker for all of them."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from export.session import Ranker
from features.canonical import ShopperEvent
from features.decisions import FeatureRow, QueryEmbedding
from features.intent import Intent
from features.knowledge import KnowledgeBase
from features.querycache import QueryCache
from features.schema import encode
from features.store import OnlineRows
from stream.batching import Record
from stream.eligibility import EligibilityRules, Eligible
from stream.latent_queries import LatentQueries, Query, Wanted
from stream.policy import Asked
from stream.telemetry import QUERY_CACHE
from stream.tracing import stage

F32 = NDArray[np.float32]

LOOP_BUDGET_TRIGGERS = 1
"""More triggers than this are scored in a thread: nothing slower than a millisecond on the event loop."""
MAX_SCORE = 1e6


@dataclass(frozen=True, slots=True)
class Trigger:
    """A moment that asks for a decision: the user exactly as they stood then."""

    event: ShopperEvent
    record: Record
    at_ms: int
    session: str
    asked: Asked
    row: FeatureRow
    facts: frozenset[str]
    clicked: frozenset[str]
    dismissed: frozenset[str]
    prompt: str
    state_hash: str
    feedback_offset: int


@dataclass(frozen=True)
class Serving:
    """What decisions are made with, swapped as a whole between batches: a model and the knowledge base of now."""

    ranker: Ranker
    kb: KnowledgeBase

    @cached_property
    def columns(self) -> NDArray[np.int64]:
        """Which columns of the ranker's matrix are active intents of the knowledge base, in the matrix's order."""
        by_id = self.kb.by_id
        live = [by_id.get(intent_id) for intent_id in self.ranker.intent_ids]
        return np.array([place for place, i in enumerate(live) if i is not None and i.status == "active"], np.int64)

    @cached_property
    def intents(self) -> tuple[Intent, ...]:
        """The intents of `columns`."""
        return tuple(self.kb.by_id[self.ranker.intent_ids[int(place)]] for place in self.columns)

    @cached_property
    def ids(self) -> tuple[str, ...]:
        """The ids of `intents`."""
        return tuple(intent.id for intent in self.intents)

    @cached_property
    def places(self) -> dict[str, int]:
        """Where each of `ids` stands."""
        return {intent_id: place for place, intent_id in enumerate(self.ids)}

    @cached_property
    def _rules(self) -> EligibilityRules:
        return EligibilityRules(self.intents)

    def eligible(self, facts: frozenset[str]) -> Eligible:
        """Which of `intents` may be offered to a user with these facts."""
        return self._rules.of(facts)


@dataclass(frozen=True, slots=True)
class Scored:
    """A trigger's raw scores and calibrated click probabilities f32[N] over `Serving.intents`."""

    scores: F32
    probability: F32
    embedding: QueryEmbedding
    degraded: tuple[str, ...] = ()


class RankingFailed(RuntimeError):
    """The model gave no usable scores for these requests."""


class Ranking:
    """Scores triggers. `clock` gives the wall clock in ms."""

    def __init__(self, cache: QueryCache, rows: OnlineRows, executor: Executor, clock: Callable[[], int]) -> None:
        self._latent = LatentQueries(cache, rows, clock)
        self._executor = executor

    async def score(self, triggers: Sequence[Trigger], serving: Serving) -> list[Scored]:
        """Scores B triggers against `serving.intents`. Raises `RankingFailed`."""
        with stage("queries"):
            wanted = [Wanted(trigger.event.key, trigger.state_hash) for trigger in triggers]
            queries = await self._latent.of(wanted, serving.ranker.space_id, serving.ranker.query_width)
        with stage("rank"):
            logits, probability = await self._ranked(triggers, queries, serving)
        scored = []
        for trigger, query, scores, chances in zip(triggers, queries, logits, probability, strict=True):
            QUERY_CACHE.labels(state=query.state).inc()
            embedding = QueryEmbedding(
                state=query.state,
                space_id=serving.ranker.space_id,
                state_hash=trigger.state_hash,
                age_ms=query.age_ms,
            )
            scored.append(Scored(scores, chances, embedding, query.degraded))
        return scored

    async def _ranked(self, triggers: Sequence[Trigger], queries: Sequence[Query], serving: Serving) -> tuple[F32, F32]:
        if len(triggers) <= LOOP_BUDGET_TRIGGERS:
            return rank([t.row for t in triggers], queries, serving)
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._executor, rank, [t.row for t in triggers], queries, serving)


def rank(rows: Sequence[FeatureRow], queries: Sequence[Query], serving: Serving) -> tuple[F32, F32]:
    """Logits and click probabilities, f32[B,N] each, over `serving.intents`. Raises `RankingFailed`."""
    ranker = serving.ranker
    query = np.zeros((len(rows), ranker.query_width), np.float32)
    for place, found in enumerate(queries):
        if found.vector is not None:
            query[place] = found.vector
    has_query = np.array([found.vector is not None for found in queries], np.bool_)
    try:
        logits = ranker.score(encode(rows), query, has_query)[:, serving.columns]
    except Exception as error:  # ONNX Runtime's errors share no base; without scores the answer is silence
        raise RankingFailed(f"model {ranker.version} failed on {len(rows)} requests: {error}") from error
    if not np.isfinite(logits).all():
        raise RankingFailed(f"model {ranker.version} gave scores that are not finite for {len(rows)} requests")
    return np.clip(logits, -MAX_SCORE, MAX_SCORE), ranker.probability(logits)
