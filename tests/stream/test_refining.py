"""The second phase of a prompt, on a real Redis and Kafka: when a late query leads to another decision."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from kafka import KafkaProducer

from features.contract import from_ms
from features.decisions import Candidates, Decision, Excluded
from features.notices import QueryRefreshed
from features.querycache import QueryCache
from features.settings import Connections
from stream import topics as named
from stream.policy import Considered, by_probability
from stream.refining import best, refined_id
from stream.refreshed_feed import RefreshedFeed
from tests.stream.test_pipeline import NOW_MS, Line, clicked, event, offered, opened

K = 3


@pytest.fixture
async def line(topics: Connections, bundle: Path) -> AsyncIterator[Line]:
    async for running in opened(Line(topics, bundle)):
        yield running


def news(decision: Decision) -> QueryRefreshed:
    return QueryRefreshed(
        tenant=decision.tenant,
        user=decision.user,
        space_id=decision.embedding.space_id,
        state_hash=decision.embedding.state_hash,
        time=from_ms(NOW_MS),
        origin=decision.trigger_offset,
    )


async def embedded(line: Line, decision: Decision, *, changes: bool = True) -> None:
    """Stores a vector for the decision's prompt: one that makes others the best intents, or one that does not."""
    ranker, draw = line.worker.models.ranker, np.random.default_rng(0)
    slate = line.worker.slates.of(decision.key)
    assert slate is not None
    for scale in (3.0, 0.0) * 50:
        vector = (scale * draw.standard_normal(ranker.query_width)).astype(np.float32)
        cache = QueryCache(line.worker.redis, line.connections)
        await cache.write_adapted(ranker.space_id, {decision.embedding.state_hash: vector})
        serving = line.worker.models.serving(line.worker.knowledge.kb)
        (scored,) = await line.worker.refining.ranking.score([slate.trigger], serving)
        told = dict(zip(serving.ids, scored.scores.tolist(), strict=True))
        ranked = sorted(decision.candidates.intent_ids, key=lambda name: -told[name])[:K]
        if changes == (set(ranked) != best(decision, K)):
            return
    pytest.fail("no vector was found that does")


async def refreshed(line: Line, decision: Decision) -> list[Decision]:
    """What is decided after the news; the first decision left out."""
    await line.worker.refining.refresh([news(decision)])
    await line.worker.outbox.settled()
    return [found for found in line.decisions() if found.refines]


async def shown(line: Line, number: int = 1) -> Decision:
    await line.take(event(number))
    return line.decisions()[-1]


async def test_a_late_query_leads_to_a_second_decision_over_the_same_trigger(line: Line) -> None:
    first = await shown(line)
    await embedded(line, first)
    (second,) = await refreshed(line, first)
    assert (second.refines, second.decision_id) == (first.decision_id, refined_id(first.decision_id))
    assert (second.trigger_offset, second.session, second.features) == (
        first.trigger_offset,
        first.session,
        first.features,
    )
    assert (first.embedding.state, second.embedding.state) == ("null", "fresh")
    assert set(offered(second)) != set(offered(first))


async def test_a_trigger_is_decided_twice_at_most(line: Line) -> None:
    first = await shown(line)
    await embedded(line, first)
    await refreshed(line, first)
    assert len(await refreshed(line, first)) == 1


async def test_the_same_best_intents_are_not_offered_again(line: Line) -> None:
    first = await shown(line)
    await embedded(line, first, changes=False)
    assert await refreshed(line, first) == []


async def test_a_query_that_is_not_there_changes_nothing_and_may_come_later(line: Line) -> None:
    first = await shown(line)
    assert await refreshed(line, first) == []
    await embedded(line, first)
    assert len(await refreshed(line, first)) == 1


async def test_a_refined_slate_is_not_charged(line: Line) -> None:
    first = await shown(line)
    await embedded(line, first)
    await refreshed(line, first)
    await line.take(event(2, "product_viewed"))
    (state,) = (await line.worker.events._states(0, ["demo:u1"])).values()
    assert state.prompts_in_session == 1


async def test_what_the_shopper_answered_stays_as_it_is(line: Line) -> None:
    first = await shown(line)
    await embedded(line, first)
    await line.hear(clicked(offered(first)[0]))
    assert await refreshed(line, first) == []


async def test_what_is_over_stays_as_it_is(line: Line) -> None:
    first = await shown(line)
    await embedded(line, first)
    line.worker.refining.clock = lambda: NOW_MS + first.ttl_ms
    assert await refreshed(line, first) == []


async def test_only_the_newest_slate_is_refined(line: Line) -> None:
    await shown(line)
    second = await shown(line, 2)
    await embedded(line, second)
    assert [found.refines for found in await refreshed(line, second)] == [second.decision_id]


async def test_a_silence_leaves_what_is_shown_open(topics: Connections, bundle: Path) -> None:
    async for line in opened(Line(topics, bundle, max_per_session=1)):
        first = await shown(line)
        await embedded(line, first)
        assert (await shown(line, 2)).reason == "cap_reached"
        assert [found.refines for found in await refreshed(line, first)] == [first.decision_id]


async def test_a_new_claim_forgets_what_was_open(line: Line) -> None:
    first = await shown(line)
    await embedded(line, first)
    await line.claim()
    assert await refreshed(line, first) == []


async def test_a_silence_stays_one(topics: Connections, bundle: Path) -> None:
    async for line in opened(Line(topics, bundle, floor=1.0)):
        await shown(line)
        assert len(line.worker.slates) == 0


@given(st.lists(st.tuples(st.sampled_from([0.1, 0.2, 0.3]), st.booleans()), min_size=4, max_size=12))
def test_the_best_of_a_logged_decision_are_those_that_the_policy_ranks_first(
    rows: list[tuple[float, bool]],
) -> None:
    ids = [f"intent_{number}" for number in range(len(rows))]
    logged = Decision.model_construct(
        candidates=Candidates(intent_ids=ids, scores=[score for score, _ in rows]),
        excluded=[
            Excluded(intent_id=name, reason="dismissed") for name, (_, gone) in zip(ids, rows, strict=True) if gone
        ],
    )
    taken = np.array([gone for _, gone in rows])
    considered = Considered(
        ids, np.array([score for score, _ in rows], np.float32), np.ones(len(rows), np.bool_), taken
    )
    ranked = [ids[int(place)] for place in by_probability(considered) if not taken[place]]
    assert best(logged, K) == frozenset(ranked[:K])


async def test_the_news_of_held_partitions_are_read_and_no_others(topics: Connections, line: Line) -> None:
    message, heard, held = news(await shown(line)), [], {2}

    async def take(found: list[QueryRefreshed]) -> None:
        heard.extend(found)

    feed = asyncio.create_task(RefreshedFeed(topics, lambda: held, take).run())
    producer = KafkaProducer(bootstrap_servers=topics.kafka_url)
    async with asyncio.timeout(20):
        while not heard:
            for partition, user in ((1, "other"), (2, "mine")):
                value = message.model_copy(update={"user": user}).to_json()
                producer.send(topics.named(named.REFRESHED.name), value, partition=partition)
            producer.send(topics.named(named.REFRESHED.name), b"{", partition=2)
            await asyncio.sleep(0.2)
    producer.close()
    feed.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await feed
    assert {found.user for found in heard} == {"mine"}
