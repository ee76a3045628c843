"""The line, batch by batch, on a real Redis and Kafka: what a batch leads to, and what it survives."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Sequence
from dataclasses import replace
from pathlib import Path

import msgspec
import pytest

from deploy.embedded import Embedded
from deploy.log_reader import whole_topic
from export import session
from features import knowledge
from features.contract import from_ms, parse
from features.decisions import Decision, Outcome
from features.events import EventData, UserEvent
from features.ledger import Counts, StoreLost
from features.notices import QueryRequested
from features.querycache import QueryCache
from features.settings import Connections
from features.state import UserState
from features.store import OnlineRows
from features.views import LATENT_QUERY, USER_ACTIVITY, project
from stream import topics as named
from stream.app import Worker
from stream.batching import Batch, Record
from stream.fence import MissedRecords, StoreUnavailable
from stream.policy import PolicySettings
from stream.settings import WorkerSettings

NOW_MS = time.time_ns() // 1_000_000
CERTAIN = {"holdout": 0.0, "epsilon": 0.0, "swap": 0.0, "floor": 0.0, "cooldown_ms": 0}


class Line:
    """A worker without Faust: batches are handed to its lines by the test. All events are of partition 0."""

    def __init__(self, connections: Connections, bundle: Path | None, **policy: object) -> None:
        settings = WorkerSettings(store_patience_s=3.0)
        self.connections = connections
        self.worker = Worker(connections, settings, PolicySettings(**{**CERTAIN, **policy}), clock=lambda: NOW_MS)
        self.worker.knowledge.kb = knowledge.load()
        if bundle is not None:
            self.worker.models.ranker = session.load(bundle)
        self.epoch = self.feedback_epoch = self.offset = self.feedback_offset = 0

    async def claim(self) -> int:
        start = await self.worker.events.fence.claim(0)
        self.epoch, self.offset = start.epoch, start.offset or 0
        self.feedback_epoch = (await self.worker.outcomes.fence.claim(0)).epoch
        return self.offset

    def batch(self, events: Sequence[UserEvent]) -> Batch:
        records = tuple(
            Record(self.offset + place, NOW_MS, event.key.encode(), event.to_json())
            for place, event in enumerate(events)
        )
        return Batch(self.connections.named(named.EVENTS.name), 0, self.epoch, self.offset, records)

    async def take(self, *events: UserEvent) -> Batch:
        batch = self.batch(events)
        await self.worker.events.process(batch)
        await self.worker.outbox.settled()
        self.offset = batch.last + 1
        return batch

    async def hear(self, outcome: Outcome) -> None:
        record = Record(self.feedback_offset, NOW_MS, outcome.key.encode(), outcome.to_json())
        topic = self.connections.named(named.OUTCOMES.name)
        await self.worker.outcomes.process(Batch(topic, 0, self.feedback_epoch, self.feedback_offset, (record,)))
        self.feedback_offset += 1

    async def counts(self) -> Counts:
        return await self.worker.events.fence.ledger.totals([0])

    def decisions(self) -> list[Decision]:
        found = [parse(Decision, r.value) for r in whole_topic(self.connections, named.DECISIONS.name)]
        return sorted(found, key=lambda decision: int(decision.trigger_offset.partition("@")[2]))

    def queries(self) -> list[QueryRequested]:
        return [parse(QueryRequested, r.value) for r in whole_topic(self.connections, named.QUERIES.name)]

    @property
    def rows(self) -> OnlineRows:
        return OnlineRows(self.worker.redis, project(self.connections.prefix))


async def opened(line: Line) -> AsyncIterator[Line]:
    async with line.worker.outbox, line.worker.redis:
        await line.claim()
        yield line


@pytest.fixture
async def line(topics: Connections, bundle: Path) -> AsyncIterator[Line]:
    async for running in opened(Line(topics, bundle)):
        yield running


def event(number: int, kind: str = "help_page_opened", user: str = "u1", at_s: float = 0, **data: object) -> UserEvent:
    told = {"topic": "Delivery", "order_id": "o1", "page": "home", **data}
    when = from_ms(NOW_MS + round(at_s * 1000))
    return UserEvent(id=f"e{number}", type=kind, time=when, user=user, data=EventData.model_validate(told))


def clicked(intent_id: str, user: str = "u1") -> Outcome:
    return Outcome(
        id=f"click-{intent_id}", decision_id="d", kind="clicked", time=from_ms(NOW_MS), user=user, intent_id=intent_id
    )


def offered(decision: Decision) -> list[str]:
    return [prompt.intent_id for prompt in decision.prompts]


async def test_a_trigger_leads_to_a_decision_with_all_that_led_to_it(line: Line) -> None:
    await line.take(event(1, "product_viewed"), event(2))
    (decision,) = line.decisions()
    assert (decision.reason, decision.trigger_event, len(decision.prompts)) == ("ranked", "e2", 3)
    assert set(offered(decision)) <= set(decision.candidates.intent_ids)
    assert decision.features.numeric["session_events"] == 2
    assert decision.trigger_offset.endswith("[0]@1")


async def test_a_clicked_intent_is_gone_for_the_session_and_back_without_the_click(line: Line) -> None:
    await line.take(event(1))
    first = offered(line.decisions()[0])
    await line.hear(clicked(first[0]))
    await line.take(event(2), event(3, user="u2"))
    _, after, other_user = line.decisions()
    assert first[0] not in offered(after)
    assert [(e.intent_id, e.reason) for e in after.excluded] == [(first[0], "already_clicked")]
    assert offered(other_user) == first


async def test_when_all_of_the_best_are_clicked_the_shop_stays_silent(line: Line) -> None:
    await line.take(event(1))
    for intent_id in offered(line.decisions()[0]):
        await line.hear(clicked(intent_id))
    await line.take(event(2))
    assert (line.decisions()[1].decision, line.decisions()[1].reason) == ("silent", "already_clicked")


async def test_how_the_log_is_cut_into_batches_changes_nothing(topics: Connections, bundle: Path) -> None:
    events = [
        event(i, "help_page_opened" if i % 3 else "searched", f"u{i % 2}", i / 10, query=f"q{i}") for i in range(12)
    ]
    made, states = [], []
    for cuts in ([12], [1] * 12, [5, 7]):
        here = topics.model_copy(update={"prefix": topics.prefix + f"-{len(cuts)}"})
        named.create(here)
        async for line in opened(Line(here, bundle, max_per_session=3, epsilon=0.5)):
            for cut in cuts:
                await line.take(*events[line.offset : line.offset + cut])
            blobs = await line.worker.events.fence.load(0, ["demo:u0", "demo:u1"])
        made.append([(offered(d), d.reason, d.features, d.slate_propensity) for d in line.decisions()])
        states.append([{**UserState.from_bytes(b).__getstate__()[1]} for b in blobs])
    assert made[0] == made[1] == made[2]
    assert states[0] == states[1] == states[2]
    assert {reason for _, reason, _, _ in made[0]} == {"ranked", "cap_reached"}


async def test_late_and_repeated_events_are_counted_and_change_nothing(line: Line) -> None:
    await line.take(event(1), event(1), event(2, at_s=-7200), event(3, user="u2", at_s=5))
    assert await line.counts() == Counts(applied=2, late=1, duplicate=1)
    assert len(line.decisions()) == 2


async def test_a_batch_that_was_applied_is_dropped_and_what_follows_it_is_not(line: Line) -> None:
    batch = await line.take(event(1), event(2))
    await line.worker.events.process(batch)
    assert await line.counts() == Counts(applied=2, replayed=2)
    overlapping = replace(batch, records=(*batch.records, *line.batch([event(3)]).records))
    await line.worker.events.process(overlapping)
    assert (await line.counts()).applied == 3


async def test_a_worker_whose_partition_was_taken_over_changes_nothing(line: Line, bundle: Path) -> None:
    async for other in opened(Line(line.connections, bundle)):
        await line.take(event(1))
        assert line.worker.events.fence.is_fenced(0)
        await other.take(event(1))
    assert await line.counts() == Counts(applied=1, fenced=1)
    assert len(line.decisions()) == 1


async def test_a_batch_of_an_older_claim_is_dropped(line: Line) -> None:
    stale = line.batch([event(1)])
    await line.claim()
    await line.worker.events.process(stale)
    assert await line.counts() == Counts()


async def test_a_hole_before_a_batch_ends_the_worker(line: Line) -> None:
    await line.take(event(1))
    line.offset += 5
    with pytest.raises(MissedRecords, match="skipped records"):
        await line.take(event(2))


async def test_a_lost_store_ends_the_worker_and_the_next_claim_starts_at_the_beginning(
    topics: Connections, bundle: Path
) -> None:
    with Embedded().start(kafka=False) as own:
        here = topics.model_copy(update={"redis_url": own.redis_url})
        async for line in opened(Line(here, bundle)):
            await line.take(event(1))
            await line.worker.redis.flushall()
            with pytest.raises(StoreLost):
                await line.take(event(2))
            assert await line.claim() == 0


async def test_a_store_that_is_away_is_waited_for_and_then_the_batch_takes_effect(
    topics: Connections, bundle: Path
) -> None:
    with Embedded(restart=True).start(kafka=False, data_dir=Path(topics.registry) / "own") as own:
        here = topics.model_copy(update={"redis_url": own.redis_url})
        async for line in opened(Line(here, bundle)):
            await line.take(event(1))
            await line.worker.redis.config_set("maxmemory", 1)
            with pytest.raises(StoreUnavailable, match="nothing is lost"):
                await line.take(event(2))
            await line.worker.redis.config_set("maxmemory", 0)
            await line.take(event(2))
            assert await line.counts() == Counts(applied=2)


async def test_rows_are_projected_and_what_a_crash_left_behind_is_projected_on_the_next_claim(line: Line) -> None:
    await line.take(event(1, "searched", query="late parcel"))
    await line.worker.projection.flush()
    before = (await line.rows.read([USER_ACTIVITY.name], ["demo:u1"], NOW_MS))[0][USER_ACTIVITY.name]
    ledger, state = line.worker.events.fence.ledger, UserState(last_ms=NOW_MS, cart_quantity=7)
    await ledger.commit(0, line.epoch, 1, 1, {"demo:u1": state.to_bytes()}, Counts(applied=1), NOW_MS)
    await line.claim()
    await line.worker.projection.flush()
    after = (await line.rows.read([USER_ACTIVITY.name], ["demo:u1"], NOW_MS))[0][USER_ACTIVITY.name]
    assert (before.values["session_events"], after.values["cart_quantity"]) == (1, 7)
    assert await ledger.dirty(0) == []


async def test_a_query_is_asked_for_when_the_meaning_changed_or_a_decision_went_without(line: Line) -> None:
    await line.take(event(1, "searched", query="where is my parcel"))
    await line.take(event(2, "page_viewed"))
    await line.take(event(3, "page_viewed", page="order"))
    await line.take(event(4, "page_viewed", page="order"))
    asked = line.queries()
    assert [(q.origin.partition("@")[2], q.is_trigger) for q in asked] == [("0", False), ("2", True), ("3", True)]
    assert "where is my parcel" in asked[0].prompt
    assert asked[1].state_hash == asked[2].state_hash


async def test_a_latent_query_is_fresh_by_content_stale_by_user_and_null_otherwise(line: Line) -> None:
    ranker = line.worker.models.ranker
    vector = ranker.state[0]
    await line.take(event(1))
    cache = QueryCache(line.worker.redis, line.connections)
    await cache.write_adapted(ranker.space_id, {line.decisions()[0].embedding.state_hash: vector})
    await line.take(event(2, user="u2"), event(3, user="u3"))
    values = {"vector": vector, "space_id": ranker.space_id, "state_hash": "0" * 64, "made_ms": NOW_MS - 5000}
    await line.rows.write(LATENT_QUERY.name, "demo:u4", values, NOW_MS, (1, 1))
    await line.take(event(4, user="u4", topic="Returns"))
    assert [d.embedding.state for d in line.decisions()] == ["null", "fresh", "fresh", "stale"]
    assert line.decisions()[3].embedding.age_ms >= 5000


async def test_a_trigger_older_than_a_prompt_is_of_use_gets_no_decision(line: Line) -> None:
    batch = line.batch([event(1), event(2)])
    old = msgspec.structs.replace(batch.records[0], timestamp_ms=NOW_MS - 10 * 60_000)
    await line.worker.events.process(replace(batch, records=(old, batch.records[1])))
    await line.worker.outbox.settled()
    assert [d.trigger_event for d in line.decisions()] == ["e2"]
    assert (await line.counts()).applied == 2
