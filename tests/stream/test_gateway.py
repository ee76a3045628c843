import asyncio
import json
import os
import resource
import signal
import sys

import httpx
import orjson
from kafka import KafkaConsumer, TopicPartition

from features.settings import Connections
from stream.topics import EVENTS, OUTCOMES
from tests.stream.gateway_client import answers, decision, event, gateway, publish, stream

DEAD = "127.0.0.1:9"


def logged(connections, topic):
    consumer = KafkaConsumer(bootstrap_servers=connections.kafka_url, enable_auto_commit=False)
    name = connections.named(topic.name)
    parts = [TopicPartition(name, p) for p in consumer.partitions_for_topic(name)]
    consumer.assign(parts)
    consumer.seek_to_beginning(*parts)
    left, found = sum(consumer.end_offsets(parts).values()), []
    while len(found) < left:
        found += [record for records in consumer.poll(1000).values() for record in records]
    consumer.close()
    return found


def statuses(reply):
    return [result["status"] for result in reply.json()["results"]]


async def test_an_acknowledged_event_is_in_the_log_under_its_users_key(topics):
    async with gateway(topics) as client:
        reply = await client.post("/v1/events", json=event())
    assert (reply.status_code, statuses(reply)) == (200, ["accepted"])
    [record] = await asyncio.to_thread(logged, topics, EVENTS)
    assert (record.key, orjson.loads(record.value)["id"]) == (b"demo:ada", "e1")


async def test_each_item_of_a_list_has_its_own_result(topics):
    posted = {"events": [event(1), event(2, type="searched"), event(1), event(3, future_field=7), 5]}
    async with gateway(topics) as client:
        reply = await client.post("/v1/events", json=posted)
    assert statuses(reply) == ["accepted", "rejected", "duplicate", "accepted", "rejected"]
    assert reply.json()["results"][1]["detail"].endswith("searched needs data.query")
    assert {"e1", "e3"} == {orjson.loads(r.value)["id"] for r in await asyncio.to_thread(logged, topics, EVENTS)}


async def test_a_retry_is_told_it_is_a_duplicate(topics):
    async with gateway(topics) as client:
        first, again = [await client.post("/v1/events", json=event()) for _ in range(2)]
        other_user = await client.post("/v1/events", json=event(user="bob"))
    assert [statuses(first), statuses(again), statuses(other_user)] == [["accepted"], ["duplicate"], ["accepted"]]


async def test_a_missing_id_and_time_are_filled_in_and_told(topics):
    async with gateway(topics) as client:
        reply = await client.post("/v1/events", json={"type": "chat_opened", "user": "ada"})
    [record] = await asyncio.to_thread(logged, topics, EVENTS)
    assert orjson.loads(record.value)["id"] == reply.json()["results"][0]["id"]
    assert orjson.loads(record.value)["time"].startswith("20")


async def test_outcomes_go_to_their_own_topic(topics):
    outcome = {"decision_id": "d1", "kind": "clicked", "intent_id": "card_declined", "user": "ada"}
    async with gateway(topics) as client:
        good = await client.post("/v1/outcomes", json=[outcome])
        bad = await client.post("/v1/outcomes", json={**outcome, "intent_id": None})
    assert (statuses(good), bad.status_code, bad.json()["results"][0]["reason"]) == (["accepted"], 400, "incomplete")
    assert len(await asyncio.to_thread(logged, topics, OUTCOMES)) == 1


async def test_what_does_not_parse_is_a_problem_that_says_what_to_do(topics):
    bodies = [b"{", b"5", b"[]", b'[{"id": NaN}]', b"[" * 5000, b'{"text":"\\ud800"}', b"[" + b"1," * 600 + b"1]", b""]
    async with gateway(topics) as client:
        replies = [await client.post("/v1/events", content=body) for body in bodies]
    assert {reply.status_code for reply in replies} == {400}
    assert {reply.headers["content-type"] for reply in replies} == {"application/problem+json"}
    assert all(reply.json()["action"] and reply.json()["detail"] for reply in replies)


async def test_an_oversize_event_is_413_alone_and_rejected_in_company(topics):
    huge = event(2, type="chat_opened", junk="x" * 300_000)
    async with gateway(topics) as client:
        alone = await client.post("/v1/events", json=huge)
        together = await client.post("/v1/events", json=[event(1), huge])
    assert (alone.status_code, alone.json()["results"][0]["reason"]) == (413, "too_large")
    assert statuses(together) == ["accepted", "rejected"]


async def test_an_oversize_body_is_refused_and_never_held(topics):
    async def fifty_megabytes():
        for _ in range(800):
            yield b" " * 65_536

    async with gateway(topics) as client:
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        declared = await client.post("/v1/events", content=b" " * 1_100_000)
        chunked = await client.post("/v1/events", content=fifty_megabytes())
        grown_mib = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024
    assert (declared.status_code, chunked.status_code) == (413, 413)
    assert grown_mib < 16


async def test_posts_from_other_sites_pages_are_refused(topics):
    async with gateway(topics) as client:
        reply = await client.post("/v1/events", json=event(), headers={"Sec-Fetch-Site": "cross-site"})
    assert reply.status_code == 403


async def test_without_kafka_posts_are_503_with_retry_after_and_ids(tmp_path):
    async with gateway(Connections(kafka_url=DEAD), wait_ready=False) as client:
        reply = await client.post("/v1/events", json={"type": "chat_opened", "user": "ada"})
        ready = await client.get("/readyz")
    assert (reply.status_code, reply.headers["retry-after"]) == (503, "2")
    assert reply.json()["results"][0]["status"] == "unknown"
    assert reply.json()["results"][0]["id"]
    assert (ready.status_code, ready.json()["kafka"]) == (503, False)


async def test_a_topic_that_is_missing_is_503_within_the_deadline(connections):
    async with gateway(connections, wait_ready=False, ack_deadline_s=0.5) as client:
        await asyncio.sleep(1)
        reply = await client.post("/v1/events", json=event())
    assert (reply.status_code, reply.json()["results"][0]["status"]) == (503, "unknown")


async def test_a_decision_is_found_by_its_id_until_it_is_not_held(topics):
    async with gateway(topics) as client:
        await publish(topics, decision("d1"))
        await answers(client, "/v1/decisions/d1")
        found, missing = [await client.get(f"/v1/decisions/{name}") for name in ("d1", "d2")]
    assert found.json()["features"]["numeric"] == {"clicks": 1.0}
    assert missing.status_code == 404
    assert "600 s" in missing.json()["detail"]
    assert "replay" in missing.json()["action"]


async def test_unknown_paths_methods_and_parameters_are_problems(topics):
    async with gateway(topics) as client:
        replies = [
            await client.get("/v1/nothing"),
            await client.get("/v1/events"),
            await client.get("/v1/stream?tenant=demo&user=a:b"),
            await client.get("/v1/stream?tenant=demo"),
        ]
    assert [reply.status_code for reply in replies] == [404, 405, 400, 400]
    assert all(set(reply.json()) >= {"type", "title", "status", "detail", "action"} for reply in replies)


async def test_openapi_names_the_contracts_and_resolves(topics):
    async with gateway(topics) as client:
        document = (await client.get("/openapi.json")).json()
    schemas = document["components"]["schemas"]
    references = {part.split('"')[0] for part in json.dumps(document).split("#/components/schemas/")[1:]}
    assert references <= set(schemas)
    assert "features" not in schemas["PublicDecision"]["properties"]
    assert "id" not in schemas["PostedUserEvent"]["required"]


async def test_metrics_count_items_by_result(topics):
    async with gateway(topics) as client:
        await client.post("/v1/events", json=[event(1), event(1), 3])
        page = (await client.get("/metrics")).text
    assert 'rgalign_http_items_total{result="duplicate",route="events"}' in page
    assert 'rgalign_http_requests_total{route="/v1/events",status="200"}' in page


async def test_sigterm_says_goodbye_and_ends_with_0(topics):
    environment = {
        **os.environ, "KAFKA_URL": topics.kafka_url, "RGALIGN_PREFIX": topics.prefix, "RGALIGN_HTTP_PORT": "0"
    }  # fmt: skip
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "stream.gateway", env=environment, stderr=asyncio.subprocess.PIPE
    )
    line = b""
    while b"gateway_serves" not in line:
        line = await asyncio.wait_for(process.stderr.readline(), 20)
    async with httpx.AsyncClient(base_url=json.loads(line)["url"].rstrip("/"), timeout=15) as client:
        await answers(client, "/readyz")
        async with stream(client) as events:
            assert (await events.next())["event"] == "hello"
            process.send_signal(signal.SIGTERM)
            goodbye = await events.next()
    assert (goodbye["event"], goodbye["data"], goodbye["retry"]) == ("goodbye", '{"reason":"drain"}', "2000")
    told = await asyncio.wait_for(process.stderr.read(), 10)
    assert await asyncio.wait_for(process.wait(), 10) == 0, told
    assert b"Traceback" not in told
