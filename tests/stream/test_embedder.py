import asyncio
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from datetime import UTC, datetime

import httpx
import numpy as np
import pytest
from kafka import KafkaConsumer, KafkaProducer, TopicPartition
from redis.asyncio import Redis

from deploy.ports import free_port
from export.bundle import read_manifest
from export.registry import Registry
from features import knowledge
from features.adapter import Adapter
from features.models import ensure_reasoner
from features.notices import IntentChange, ModelRelease, QueryRequested
from features.prompt import SLOT, state_hash
from features.querycache import QueryCache
from features.reasoner import reasoner_id
from features.settings import Connections
from features.store import OnlineRows
from features.vectors import Source
from features.views import project
from stream import topics as names
from stream.embedding import MOST_ATTEMPTS, Embedding
from stream.encoding import Encoding
from stream.intent_embedding import IntentEmbedding
from stream.query_spaces import OtherReasoner, QuerySpaces, Space, opened
from stream.reasoner_thread import ReasonerThread
from stream.refresh_queue import Refresh

WIDTH, BASE = 4, "b" * 64


class Counting:
    """An encoder whose vectors tell the length of a text; `broken` prompts get NaN until it is mended."""

    base_id, width = BASE, WIDTH

    def __init__(self):
        self.asked = []
        self.is_mended = False

    def embed(self, texts, progress=None):
        self.asked.append(list(texts))
        first = [np.nan if "broken" in text and not self.is_mended else len(text) for text in texts]
        return np.array([[number, 1, 2, 3] for number in first], dtype=np.float32)


def request(user="u1", need="where is my parcel", offset=0, text=None):
    prompt = text or f"A customer. Just now: wrote '{need}'.{SLOT}"
    return QueryRequested(
        tenant="demo", user=user, state_hash=state_hash(prompt), prompt=prompt, time=datetime.now(UTC),
        is_trigger=True, origin=f"shop.user.events.v1[0]@{offset}",
    )  # fmt: skip


def queued(*requests):
    return [Refresh(one, ("queries", 0), offset) for offset, one in enumerate(requests)]


@pytest.fixture
def news():
    """What was announced: (space, users)."""
    return []


@pytest.fixture
async def work(redis_url, connections, news):
    redis = Redis.from_url(redis_url)
    cache = QueryCache(redis, connections)
    spaces = QuerySpaces("demo", BASE, WIDTH, cache)
    rows = OnlineRows(redis, project(connections.prefix))
    encoding = Encoding(Counting(), ReasonerThread(30.0), 8)

    async def announce(space, refreshed, at_ms):
        news.append((space.space_id, [refresh.request.key for refresh in refreshed]))

    yield Embedding(encoding, cache, rows, spaces, lambda: time.time_ns() // 1_000_000, announce)
    await redis.aclose()


def space(letter, mean=1.0):
    return Space(letter * 64, Adapter.identity(np.full(WIDTH, mean, np.float32), rank=2))


def serve(work, one):
    work.spaces._by_stage["serving"] = one
    return one


async def row(work, key="demo:u1"):
    (rows,) = await work.rows.read(["latent_query"], [key], time.time_ns() // 1_000_000)
    return rows["latent_query"]


async def test_equal_prompts_are_computed_once(work):
    await work.process(queued(request("u1"), request("u2"), request("u3", "refund")))
    await work.process(queued(request("u4")))
    assert [len(asked) for asked in work.reasoner.asked] == [2]
    assert (work.tally.computed, work.tally.cached) == (2, 2)


async def test_the_ranker_finds_the_adapted_vector_and_the_user_a_row(work):
    serving = serve(work, space("5"))
    one = request()
    await work.process(queued(one))
    (vector,) = await work.cache.read_adapted(serving.space_id, [one.state_hash], WIDTH)
    assert vector.tolist() == [len(one.prompt) - 1, 0, 1, 2]
    stored = await row(work)
    assert stored.values["space_id"] == serving.space_id
    assert stored.values["state_hash"] == one.state_hash
    assert np.array_equal(stored.values["vector"], vector)


async def test_an_older_request_does_not_replace_a_newer_row(work):
    serve(work, space("5"))
    newer, older = request(need="refund", offset=9), request(offset=3)
    await work.process(queued(newer))
    await work.process(queued(older))
    assert (await row(work)).values["state_hash"] == newer.state_hash


async def test_what_is_not_finite_is_never_stored(work):
    serve(work, space("5"))
    good, broken = request(), request(need="broken", offset=1)
    await work.process(queued(good))
    await work.process(queued(broken))
    assert await work.cache.read_base(BASE, [broken.state_hash], WIDTH) == [None]
    assert (await row(work)).values["state_hash"] == good.state_hash


async def test_what_fails_is_tried_again_a_few_times_and_no_more(work):
    waiting, rounds = queued(request(need="broken")), 0
    while waiting:
        again = await work.process(waiting)
        waiting = [replace(refresh, attempts=refresh.attempts + 1) for refresh in again]
        rounds += 1
    assert rounds == MOST_ATTEMPTS
    assert (work.tally.retried, work.tally.failed) == (MOST_ATTEMPTS - 1, 1)


async def test_nothing_is_tried_again_without_a_budget(work):
    work.encoding.budget.left = 0.0
    assert await work.process(queued(request(need="broken"))) == []
    assert work.tally.failed == 1


async def test_who_has_a_query_in_the_serving_space_now_is_announced(work, news):
    await work.process(queued(request("before")))
    serving = serve(work, space("5"))
    await work.process(queued(request("u1"), request("u2", "broken")))
    assert news == [(serving.space_id, ["demo:u1"])]


async def test_a_hash_that_is_not_the_prompts_cannot_poison_the_cache(work):
    liar = request().model_copy(update={"prompt": "something else"})
    await work.process(queued(liar))
    assert work.reasoner.asked == []
    assert work.tally.failed == 1


async def test_a_new_space_is_refilled_from_what_is_known(work):
    requests = [request(f"u{number}", f"need {number}") for number in range(5)]
    await work.process(queued(*requests))
    fresh = space("6", mean=3.0)
    await work.spaces.refill(fresh)
    vectors = await work.cache.read_adapted(fresh.space_id, [one.state_hash for one in requests], WIDTH)
    assert all(vector is not None and vector[1] == -2 for vector in vectors)
    assert await work.cache.ready(fresh.space_id) == 1.0
    assert len(work.reasoner.asked) == 1


async def test_a_space_is_ready_by_the_share_of_the_traffic_that_it_has(work, monkeypatch):
    monkeypatch.setattr("stream.query_spaces.REFILL_CHUNK", 1)
    told = []
    monkeypatch.setattr(work.cache, "set_ready", lambda _, share: told.append(share) or asyncio.sleep(0))
    await work.process(queued(request("u0", "rare")))
    await work.process(queued(*(request(f"u{number}", "common") for number in range(1, 20))))
    await work.spaces.refill(space("6"))
    assert told == [0.95, 1.0, 1.0]


async def test_a_vector_lives_on_while_it_is_asked_for(work):
    one = request()
    await work.process(queued(one))
    key = work.cache.base_key(BASE, one.state_hash)
    await work.cache._redis.expire(key, 60)
    await work.process(queued(request("u2")))
    assert await work.cache._redis.ttl(key) > 60


async def test_a_release_that_cannot_be_read_changes_nothing(work, tmp_path):
    before = serve(work, space("5"))
    gone = ModelRelease(
        stage="serving", version="v1", uri=str(tmp_path / "gone"), manifest_sha256="0" * 64, space_id="7" * 64,
        schema_fingerprint="f", kb_version="k", time=datetime.now(UTC),
    )  # fmt: skip
    await work.spaces.apply([record_of(gone)])
    assert work.spaces.serving is before


@pytest.fixture
def published(connections, bundle):
    """The release of a real small bundle over a reasoner named 000... of width 32."""
    registry = Registry(connections.registry)
    uri, sha256 = registry.publish(bundle)
    manifest = read_manifest(registry.path(registry.versions()[-1]))
    return ModelRelease(
        stage="serving", version=manifest.version, uri=uri, manifest_sha256=sha256, space_id=manifest.space_id,
        schema_fingerprint=manifest.schema_fingerprint, kb_version=manifest.kb_version, time=datetime.now(UTC),
    )  # fmt: skip


def record_of(message):
    return type("Record", (), {"value": message.to_json(), "topic": "t", "offset": 0})


async def test_a_release_opens_its_space_and_fills_it(work, published):
    spaces = QuerySpaces("demo", "0" * 64, 32, work.cache)
    await work.cache.write_base("0" * 64, {"a": np.ones(32, np.float32)}, at_ms=1)
    await spaces.apply([record_of(published)])
    assert spaces.serving.space_id == published.space_id
    (vector,) = await work.cache.read_adapted(published.space_id, ["a"], 32)
    assert np.allclose(vector, 1 - spaces.serving.adapter.mean)


async def test_a_bundle_of_another_reasoner_is_refused(work, published):
    spaces = QuerySpaces("demo", "1" * 64, 32, work.cache)
    await spaces.apply([record_of(published)])
    assert spaces.serving is None
    with pytest.raises(OtherReasoner, match="run an embedder with that model folder"):
        opened(published, "1" * 64, 32)


async def test_an_edited_intent_gets_its_vectors_at_once(work, tmp_path):
    encoder = work.reasoner
    sources = Source("1" * 64, lambda: encoder), Source(BASE, lambda: encoder)
    follow = IntentEmbedding("demo", work.cache, tmp_path, *sources, work.encoding.thread)
    intents = knowledge.load().intents[:2]
    edited = intents[0].model_copy(update={"title": "Another title"})
    for change in (*intents, edited):
        await follow.apply([record_of(changed_to(change))])
    hashes = [knowledge.Intent.model_validate(one.model_dump()).content_hash for one in (*intents, edited)]
    vectors = await work.cache.read_intents(BASE, hashes, 2 * WIDTH)
    assert all(vector is not None for vector in vectors)
    assert len(encoder.asked) == 6


def changed_to(intent):
    return IntentChange(
        intent_id=intent.id, kb_version="v", time=datetime.now(UTC), intent=intent.model_dump(mode="json")
    )


async def test_an_intent_without_sound_vectors_waits_and_keeps_no_other_back(work, tmp_path):
    encoder = work.reasoner
    sources = Source("1" * 64, lambda: encoder), Source(BASE, lambda: encoder)
    follow = IntentEmbedding("demo", work.cache, tmp_path, *sources, work.encoding.thread)
    intents = [
        i.model_copy(update={"title": "broken"}) if n == 1 else i for n, i in enumerate(knowledge.load().intents[:3])
    ]
    await follow.apply([record_of(changed_to(intent)) for intent in intents])
    assert [intent.id for intent in follow.missing] == [intents[1].id]
    encoder.is_mended = True
    await follow.store()
    assert follow.missing == []


def produce(connections, topic, messages):
    producer = KafkaProducer(bootstrap_servers=connections.kafka_url, acks="all")
    for key, value in messages:
        producer.send(connections.named(topic.name), key=key, value=value)
    producer.flush(30)
    producer.close()


def committed(connections):
    """How many records the embedders' group has behind it."""
    name = connections.named(names.QUERIES.name)
    consumer = KafkaConsumer(bootstrap_servers=connections.kafka_url, group_id=connections.named("rgalign-embedder"))
    found = sum(consumer.committed(TopicPartition(name, partition)) or 0 for partition in range(4))
    consumer.close()
    return found


@pytest.mark.slow
def test_the_role_embeds_what_is_asked_for_and_drains_on_sigterm(topics):
    port = free_port()
    env = {
        **os.environ, "KAFKA_URL": topics.kafka_url, "REDIS_URL": topics.redis_url, "RGALIGN_PREFIX": topics.prefix,
        "RGALIGN_HEALTH_PORT": str(port), "RGALIGN_CACHE": str(Connections().cache),
        "RGALIGN_REASONER_BACKEND": "torch",
    }  # fmt: skip
    requests = [request(f"u{number}", f"need {number % 2}", number) for number in range(6)]
    produce(topics, names.QUERIES, [(b"demo:bad", b"{}"), *((one.key.encode(), one.to_json()) for one in requests)])
    process = subprocess.Popen([sys.executable, "-m", "stream.embedder"], env=env)
    try:
        vectors = asyncio.run(until_embedded(topics, requests[:2]))
        assert all(np.isfinite(vector).all() for vector in vectors)
        health = httpx.get(f"http://127.0.0.1:{port}/readyz", timeout=5).json()
        assert (health["ready"], health["provider"]) == (True, "torch fp32 cpu")
        assert until_told(f"http://127.0.0.1:{port}/metrics", topics.named(names.QUERIES.name))
        process.send_signal(signal.SIGTERM)
        assert process.wait(15) == 0
        assert committed(topics) == len(requests) + 1
    finally:
        process.kill()
        process.wait(15)


def until_told(url, topic, timeout_s=20.0):
    """The gauges of the consumer's lag on this topic, once they are all 0."""
    deadline_s = time.monotonic() + timeout_s
    while time.monotonic() < deadline_s:
        lines = httpx.get(url, timeout=5).text.splitlines()
        lag = [line for line in lines if line.startswith("rgalign_consumer_lag_records{") and topic in line]
        if lag and all(line.endswith(" 0.0") for line in lag):
            return lag
        time.sleep(0.2)
    raise AssertionError(f"found {lag}")


async def until_embedded(connections, requests, timeout_s=60.0):
    base = reasoner_id(ensure_reasoner(Connections().cache))
    async with Redis.from_url(connections.redis_url) as redis, asyncio.timeout(timeout_s):
        cache = QueryCache(redis, connections)
        while True:
            found = await cache.read_base(base, [one.state_hash for one in requests], 576)
            if all(vector is not None for vector in found):
                return found
            await asyncio.sleep(0.2)
