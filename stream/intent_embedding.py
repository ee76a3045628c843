"""The vectors of new and edited intents, computed when the knowledge base changes, for workers to rank with at once."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import structlog
from numpy.typing import NDArray
from redis.exceptions import RedisError

from features.intent import Intent
from features.knowledge import KnowledgeBase
from features.querycache import QueryCache
from features.redis_access import raise_if_refused
from features.vectors import Source, embed_kept, state_input, text_input
from stream.hot_swap import changed
from stream.reasoner_thread import ReasonerStuck, ReasonerThread

log = structlog.get_logger(__name__)

F32 = NDArray[np.float32]

CHUNK = 4
"""Intents embedded between two looks at the users who wait."""
RETRY_S = 5.0
"""How long an intent waits whose vectors could not be made or stored."""


@dataclass(slots=True)
class IntentEmbedding:
    """Follows the KB topic; stores `[t_i | b_i]` of every intent under the reasoner's base_id and its content hash.

    What fails is logged and tried again every `RETRY_S`; until then the intent ranks as before, or not at all.
    """

    tenant: str
    cache: QueryCache
    files: Path
    text: Source
    reasoner: Source
    thread: ReasonerThread
    kb: KnowledgeBase = field(default_factory=KnowledgeBase)
    _stored: set[str] = field(default_factory=set)
    _storing: asyncio.Lock = field(default_factory=asyncio.Lock)

    async def apply(self, records: Sequence[Any]) -> None:
        """Takes records of the KB topic, in order. Raises `ReasonerStuck`: start the process again."""
        kb = self.kb
        for record in records:
            kb = changed(kb, record, self.tenant)
        self.kb = kb
        await self.store()

    async def run(self) -> None:
        """Tries again what failed, until cancelled."""
        while True:
            await asyncio.sleep(RETRY_S)
            await self.store()

    @property
    def missing(self) -> list[Intent]:
        """The intents without stored vectors."""
        return [intent for intent in self.kb.intents if intent.content_hash not in self._stored]

    async def store(self) -> None:
        """Computes and stores what is missing; a part that fails is left for the next time."""
        async with self._storing:
            wanted = self.missing
            for start in range(0, len(wanted), CHUNK):
                await self._try(wanted[start : start + CHUNK])
            if wanted:
                log.info("intent_vectors_stored", intents=len(wanted) - len(self.missing), kb=self.kb.version)

    async def _try(self, intents: Sequence[Intent]) -> None:
        """Stores a part; one that fails is halved, so that one intent cannot keep the others back."""
        try:
            await self._store(intents)
        except ReasonerStuck:
            raise
        except Exception as error:  # noqa: BLE001 - the runtimes' errors share no base, and Redis's pass
            raise_if_refused(error)
            if len(intents) > 1 and not isinstance(error, (RedisError, OSError)):
                await self._try(intents[: len(intents) // 2])
                await self._try(intents[len(intents) // 2 :])
                return
            log.error("intent_vectors_missing", intents=len(intents), error=f"{type(error).__name__}: {error}"[:300])

    async def _store(self, intents: Sequence[Intent]) -> None:
        vectors = await self.thread.call(self._embed, intents)
        hashes = [intent.content_hash for intent in intents]
        await self.cache.write_intents(self.reasoner.base_id, dict(zip(hashes, vectors, strict=True)))
        self._stored.update(hashes)

    def _embed(self, intents: Sequence[Intent]) -> list[F32]:
        text = embed_kept([text_input(intent) for intent in intents], self.files, self.text)
        state = embed_kept([state_input(intent) for intent in intents], self.files, self.reasoner)
        return list(np.concatenate([text, state], axis=1))
