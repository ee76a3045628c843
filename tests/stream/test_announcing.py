"""News of refreshed queries, on a real Kafka: whom they are about, and where they stand."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from deploy.log_reader import whole_topic
from features.adapter import Adapter
from features.contract import parse
from features.notices import QueryRefreshed
from features.settings import Connections
from stream import topics as named
from stream.announcing import Announcer
from stream.outbox import Outbox
from stream.query_spaces import Space
from tests.stream.test_refresh_queue import refresh

NOW = 1_795_000_000_000

SPACE = Space("5" * 64, Adapter.identity(np.zeros(4, np.float32), rank=2))


async def test_who_was_decided_over_without_a_query_is_told_of_in_their_own_partition(topics: Connections) -> None:
    async with Outbox(topics) as outbox:
        announcer = Announcer(outbox, topics.named(named.REFRESHED.name))
        waiting = replace(refresh("asked", is_trigger=True), place=("queries", 2))
        await announcer.tell(SPACE, [waiting, refresh("browsing")], NOW)
        await outbox.settled()
    (record,) = whole_topic(topics, named.REFRESHED.name)
    told = parse(QueryRefreshed, record.value)
    assert (record.partition, record.key, told.user) == (2, b"demo:asked", "asked")
    assert (told.space_id, told.state_hash) == (SPACE.space_id, waiting.request.state_hash)


async def test_news_that_cannot_be_told_hold_nobody_up(topics: Connections) -> None:
    outbox = Outbox(topics)
    async with outbox:
        pass
    waiting = refresh("asked", is_trigger=True)
    await Announcer(outbox, topics.named(named.REFRESHED.name)).tell(SPACE, [waiting], NOW)
    assert whole_topic(topics, named.REFRESHED.name) == []
