"""The vectors of new and edited intents, computed when the knowledge base changes, for workers to rank with at once."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from concurrent.futures import Executor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import structlog

from features.intent import Intent
from features.knowledge import KnowledgeBase
from features.querycache import QueryCache
from features.vectors import Source, embed_kept, state_input, text_input
from stream.hot_swap import changed

log = structlog.get_logger(__name__)

CHUNK = 4
"""Intents embedded between two looks at the users who wait."""


@dataclass(slots=True)
class IntentEmbedding:
    """Follows the KB topic; stores `[t_i | b_i]` of every intent under the reasoner's base_id and its content hash."""

    tenant: str
    cache: QueryCache
    files: Path
    text: Source
    reasoner: Source
    executor: Executor
    kb: KnowledgeBase = field(default_factory=KnowledgeBase)
    _stored: set[str] = field(default_factory=set)

    async def apply(self, records: Sequence[Any]) -> None:
        """Takes records of the KB topic, in order."""
        kb = self.kb
        for record in records:
            kb = changed(kb, record, self.tenant)
        self.kb = kb
        wanted = [intent for intent in kb.intents if intent.content_hash not in self._stored]
        for start in range(0, len(wanted), CHUNK):
            await self._store(wanted[start : start + CHUNK])
        if wanted:
            log.info("intent_vectors_stored", intents=len(wanted), kb=kb.version)

    async def _store(self, intents: Sequence[Intent]) -> None:
        loop = asyncio.get_running_loop()
        vectors = await loop.run_in_executor(self.executor, self._embed, intents)
        hashes = [intent.content_hash for intent in intents]
        await self.cache.write_intents(self.reasoner.base_id, dict(zip(hashes, vectors, strict=True)))
        self._stored.update(hashes)

    def _embed(self, intents: Sequence[Intent]) -> list[Any]:
        text = embed_kept([text_input(intent) for intent in intents], self.files, self.text)
        state = embed_kept([state_input(intent) for intent in intents], self.files, self.reasoner)
        return list(np.concatenate([text, state], axis=1))
