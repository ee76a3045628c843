"""New and edited intents in the running model: their vectors come from the embedder, the intent tower runs again."""

from __future__ import annotations

import asyncio

import numpy as np
import structlog
from numpy.typing import NDArray

from export.session import Ranker
from features.intent import Intent
from features.knowledge import KnowledgeBase
from features.querycache import QueryCache
from stream.fence import PASSING
from stream.hot_swap import BundleSlot, LiveKnowledge

log = structlog.get_logger(__name__)

F32 = NDArray[np.float32]

LOOK_EVERY_S = 1.0
SAME = 1e-2
"""Vectors of one text by one encoder differ by less, whatever they were batched with."""


class HotIntents:
    """Keeps the serving model's intents in step with the live knowledge base."""

    def __init__(self, slot: BundleSlot, knowledge: LiveKnowledge, cache: QueryCache) -> None:
        self._slot = slot
        self._knowledge = knowledge
        self._cache = cache
        self._settled: tuple[Ranker, KnowledgeBase] | None = None

    async def run(self) -> None:
        """Looks for changes until cancelled."""
        while True:
            try:
                await self.look()
            except PASSING as error:
                log.warning("intents_not_looked_up", error=str(error))
            await asyncio.sleep(LOOK_EVERY_S)

    async def look(self) -> None:
        """Adopts what changed since the last look and has vectors by now; what has none is looked for again."""
        ranker, kb = self._slot.ranker, self._knowledge.kb
        if ranker is None or not kb.intents or self._is_settled(ranker, kb):
            return
        if ranker.kb_version == kb.version:
            self._settled = (ranker, kb)
            return
        live = [intent for intent in kb.intents if intent.status == "active"]
        width = ranker.text.shape[1] + ranker.query_width
        found = await self._cache.read_intents(ranker.manifest.base_id, [i.content_hash for i in live], width)
        adopted = await asyncio.to_thread(adopt, ranker, live, found)
        if adopted is not ranker and self._slot.ranker is ranker:
            self._slot.ranker = adopted
            log.info("intents_adopted", kb=kb.version, intents=len(adopted.intent_ids), before=len(ranker.intent_ids))
        known = set(adopted.intent_ids)
        waiting = [i.id for i, vector in zip(live, found, strict=True) if vector is None and i.id not in known]
        self._settled = None if waiting else (adopted, kb)

    def _is_settled(self, ranker: Ranker, kb: KnowledgeBase) -> bool:
        return self._settled is not None and self._settled[0] is ranker and self._settled[1] is kb


def adopt(ranker: Ranker, live: list[Intent], vectors: list[F32 | None]) -> Ranker:
    """The model over its own intents and the live ones with vectors [t_i | b_i]; itself when nothing differs."""
    place = {intent_id: row for row, intent_id in enumerate(ranker.intent_ids)}
    split = ranker.text.shape[1]
    text, state, families = list(ranker.text), list(ranker.state), list(ranker.families)
    ids, is_changed = list(ranker.intent_ids), False
    for intent, vector in zip(live, vectors, strict=True):
        if vector is None:
            continue
        row = place.get(intent.id)
        if row is None:
            ids.append(intent.id)
            text.append(vector[:split])
            state.append(vector[split:])
            families.append(intent.family)
            is_changed = True
        elif np.abs(text[row] - vector[:split]).max() > SAME:
            text[row], state[row], is_changed = vector[:split], vector[split:], True
    return ranker.with_intents(ids, np.stack(text), np.stack(state), families) if is_changed else ranker
