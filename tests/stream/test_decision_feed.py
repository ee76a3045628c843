import asyncio

import pytest

from features.contract import parse
from features.settings import Connections
from stream import telemetry
from stream.decision_feed import DecisionFeed, Subscription
from stream.decision_ring import DecisionRing, Entry, Missed
from stream.event_stream import EventStream
from tests.stream.gateway_client import decision, gateway, publish, stream, until


def entry(offset: int, user: str = "ada", at_ms: int = 1000, size: int = 10) -> Entry:
    return Entry(0, offset, f"demo:{user}", f"d{offset}", at_ms, b"x" * size)


def ring(max_count: int = 100, max_bytes: int = 10_000, max_age_ms: int = 1000) -> DecisionRing:
    return DecisionRing(max_count, max_bytes, max_age_ms)


def offsets(missed: Missed) -> list[int]:
    return [held.offset for held in missed.entries]


@pytest.mark.parametrize("bounds", [{"max_count": 3}, {"max_bytes": 30}, {"max_age_ms": 2}])
def test_the_ring_keeps_the_newest_within_each_bound(bounds):
    kept = ring(**bounds)
    for offset in range(10):
        kept.append(entry(offset, at_ms=1000 + offset))
    assert len(kept) == 3
    assert (kept.find("d6"), kept.find("d7").offset) == (None, 7)


def test_age_empties_a_quiet_ring():
    kept = ring()
    kept.append(entry(0))
    kept.expire(5000)
    assert (len(kept), offsets(kept.missed("demo:ada", 0, -1))) == (0, [])


def test_a_returning_client_gets_only_its_own_and_only_what_is_newer():
    kept = ring()
    kept.begin(0, 0)
    for offset in range(6):
        kept.append(entry(offset, user="ada" if offset % 2 else "bob"))
    missed = kept.missed("demo:ada", 0, 1)
    assert (offsets(missed), missed.has_gap) == ([3, 5], False)


def test_a_gap_is_told_when_the_ring_has_let_go_of_something_newer():
    kept = ring(max_count=2)
    kept.begin(0, 0)
    for offset in range(5):
        kept.append(entry(offset))
    assert kept.missed("demo:ada", 0, 1).has_gap
    assert not kept.missed("demo:ada", 0, 2).has_gap


async def test_a_full_queue_ends_the_subscription_and_frees_it():
    gone = []
    subscription = Subscription(Missed([], has_gap=False), 2, gone.append)
    before = telemetry.STREAMS_DROPPED.labels(reason="slow")._value.get()
    for offset in range(4):
        subscription.offer(entry(offset))
    assert (subscription.ended, gone) == ("slow", [subscription])
    assert await subscription.next(0.1) is None
    assert telemetry.STREAMS_DROPPED.labels(reason="slow")._value.get() == before + 1


async def test_a_slow_client_is_told_goodbye():
    feed = DecisionFeed(Connections(kafka_url="127.0.0.1:9"), "t", ring(), 1000, max_streams=5)
    subscription = feed.subscribe("demo:ada", None, max_queued=1)
    sent, blocked = [], asyncio.Event()

    async def slow_send(message):
        sent.append(message)
        if len(sent) == 2:
            await blocked.wait()

    async def receive():
        await asyncio.Event().wait()

    answering = asyncio.create_task(EventStream(subscription, 5)({"type": "http"}, receive, slow_send))
    await asyncio.sleep(0.05)
    for offset in range(3):
        subscription.offer(entry(offset))
    blocked.set()
    await asyncio.wait_for(answering, 2)
    assert b'goodbye\ndata: {"reason":"slow"}' in sent[-2]["body"]
    assert not feed._subscribers


async def test_a_decision_reaches_its_user_and_no_other(topics):
    async with gateway(topics) as client, stream(client, "ada") as ada, stream(client, "bob") as bob:
        assert [(await ada.next())["event"], (await bob.next())["event"]] == ["hello", "hello"]
        await publish(topics, decision("d1", "ada"), decision("d2", "bob"))
        to_ada, to_bob = await ada.next(), await bob.next()
    assert ('"decision_id":"d1"' in to_ada["data"], '"decision_id":"d2"' in to_bob["data"]) == (True, True)
    assert (to_ada["event"], "numeric" in to_ada["data"]) == ("decision", False)


async def test_a_stream_resumes_after_the_last_event_id(topics):
    made = [decision(f"d{number}") for number in range(4)]
    async with gateway(topics) as client:
        async with stream(client) as events:
            await events.next()
            await publish(topics, *made[:2])
            first = await events.next()
        await publish(topics, *made[2:])
        async with stream(client, **{"Last-Event-ID": first["id"]}) as events:
            hello, *resumed = [await events.next() for _ in range(4)]
        async with stream(client, **{"Last-Event-ID": "nonsense"}) as events:
            told = await events.next()
    assert [f'"d{n}"' in received["data"] for n, received in zip((1, 2, 3), resumed, strict=True)] == [True] * 3
    assert '"has_gap":false' in hello["data"]
    assert told["data"] == '{"resumed":0,"has_gap":true}'


async def test_the_ring_is_rebuilt_when_a_gateway_starts(topics):
    await publish(topics, decision("d1"), decision("d2", "bob"))
    async with gateway(topics) as client:
        found = await client.get("/v1/decisions/d2")
    assert found.json()["user"] == "bob"


async def test_a_quiet_stream_beats(topics):
    async with gateway(topics, heartbeat_s=0.1) as client, stream(client) as events:
        await events.next()
        assert [await events.next() for _ in range(2)] == [{"comment": "heartbeat"}] * 2


async def test_streams_are_capped_and_a_gone_client_makes_room(topics):
    async with gateway(topics, max_streams=1) as client:
        async with stream(client) as events:
            await events.next()
            refused = await client.get("/v1/stream?tenant=demo&user=bob")
        feed = client.app.state.gateway.feed
        await until(lambda: feed._count == 0)
        async with stream(client, "bob") as events:
            assert (await events.next())["event"] == "hello"
    assert (refused.status_code, refused.headers["retry-after"]) == (503, "2")


async def test_a_record_that_is_no_decision_is_passed_over(topics):
    from aiokafka import AIOKafkaProducer

    from stream.topics import DECISIONS

    async with gateway(topics) as client, stream(client) as events:
        await events.next()
        async with AIOKafkaProducer(bootstrap_servers=topics.kafka_url) as producer:
            await producer.send_and_wait(topics.named(DECISIONS.name), b"{", b"demo:ada")
            await producer.send_and_wait(topics.named(DECISIONS.name), None, b"demo:ada")
        await publish(topics, decision("d1"))
        assert '"d1"' in (await events.next())["data"]


def test_the_public_part_of_a_decision_is_still_a_decision_for_its_owner():
    made = decision()
    assert parse(type(made), made.to_json()) == made
    assert not {"features", "candidates"} & set(made.public())
