"""An intent that is new, or says something new, is ranked as soon as the embedder has its vectors."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from redis.asyncio import Redis

from export import session
from features import knowledge
from features.knowledge import KnowledgeBase
from features.querycache import QueryCache
from features.settings import Connections
from stream.hot_intents import HotIntents
from stream.hot_swap import BundleSlot, LiveKnowledge


@pytest.fixture
def slot(bundle: Path) -> BundleSlot:
    filled = BundleSlot("demo")
    filled.ranker = session.load(bundle)
    return filled


async def test_a_new_intent_joins_the_candidates_once_its_vectors_are_there(
    connections: Connections, slot: BundleSlot
) -> None:
    kb = knowledge.load()
    new = kb.intents[0].model_copy(update={"id": "brand_new", "title": "Something new"})
    live, before = LiveKnowledge("demo"), slot.ranker
    live.kb = KnowledgeBase((*kb.intents, new))
    async with Redis.from_url(connections.redis_url) as redis:
        cache = QueryCache(redis, connections)
        hot = HotIntents(slot, live, cache)
        await hot.look()
        assert slot.ranker is before
        vector = np.ones(before.text.shape[1] + before.query_width, np.float32)
        await cache.write_intents(before.manifest.base_id, {new.content_hash: vector})
        await hot.look()
    assert slot.ranker.intent_ids == (*before.intent_ids, "brand_new")
    assert slot.serving(live.kb).intents[-1] == new
    assert before.intent_ids == tuple(intent.id for intent in kb.intents)


async def test_an_edited_text_changes_its_intents_vectors_alone(connections: Connections, slot: BundleSlot) -> None:
    kb, before = knowledge.load(), slot.ranker
    edited = kb.intents[3].model_copy(update={"title": "Other words"})
    live = LiveKnowledge("demo")
    live.kb = KnowledgeBase((*kb.intents[:3], edited, *kb.intents[4:]))
    async with Redis.from_url(connections.redis_url) as redis:
        cache = QueryCache(redis, connections)
        vector = np.ones(before.text.shape[1] + before.query_width, np.float32)
        await cache.write_intents(before.manifest.base_id, {edited.content_hash: vector})
        await HotIntents(slot, live, cache).look()
    changed = np.abs(slot.ranker.text - before.text).max(axis=1) > 0
    assert np.flatnonzero(changed).tolist() == [3]
    assert slot.ranker.version == before.version
