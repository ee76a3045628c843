"""A thousand malformed events: half are posted, half stand in the log; all are counted, none does harm."""

from __future__ import annotations

import re
from dataclasses import astuple, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx
import orjson
import pytest
from kafka import KafkaProducer

from deploy.log_reader import whole_topic
from features.contract import origin
from features.ledger import Counts
from stream import topics
from stream.dead_letters import letter_of
from tests.shows import spoiled
from tests.shows.deployment import Deployment
from tests.stream import stage

pytestmark = pytest.mark.timeout(600)

HALF = 500
GOOD = 25


@dataclass(frozen=True)
class Flood:
    """What was sent, and how everything stood before and after."""

    answers: list[httpx.Response]
    mixed: list[httpx.Response]
    sent: dict[str, spoiled.Record]
    acked: list[str]
    counts: Counts
    refusals: float
    before: dict[str, Any]
    after: dict[str, Any]


@pytest.fixture(scope="module")
def flood(stack: Deployment) -> Flood:
    """500 malformed events posted, 25 posts with one good and one bad event, 500 malformed records appended."""
    before, counted, refused = stack.state(), stage.totals(stack.connections), _refusals(stack)
    with httpx.Client(base_url=stack.url(), timeout=20) as http:
        answers = [http.post("/v1/events", content=body) for body in spoiled.bodies(HALF, seed=1)]
        mixed = [http.post("/v1/events", json=[_good(n), spoiled.event(time=n)]) for n in range(GOOD)]
    sent = _appended(stack)
    acked = [answer.json()["results"][0]["id"] for answer in mixed]
    assert stack.books(acked).is_closed
    counts = stage.totals(stack.connections)
    change = Counts(*(after - old for after, old in zip(astuple(counts), astuple(counted), strict=True)))
    return Flood(answers, mixed, sent, acked, change, _refusals(stack) - refused, before, stack.state())


def _good(number: int) -> dict[str, Any]:
    return spoiled.event(id=f"good-{number}", user=f"good{number}")


def _refusals(stack: Deployment) -> float:
    route = 'rgalign_http_requests_total{route="/v1/events",status='
    return sum(stack.metric("gateway", f'{route}"{status}"') for status in (400, 413))


def _appended(stack: Deployment) -> dict[str, spoiled.Record]:
    """The records by topic[partition]@offset."""
    producer = KafkaProducer(bootstrap_servers=stack.connections.kafka_url, acks="all")
    topic = stack.connections.named(topics.EVENTS.name)
    pending = [
        (record, producer.send(topic, key=record[0], value=record[1])) for record in spoiled.records(HALF, seed=2)
    ]
    told = [(record, future.get(timeout=30)) for record, future in pending]
    producer.close()
    return {origin(m.topic, m.partition, m.offset): record for record, m in told}


def test_every_malformed_post_is_refused_with_a_reason_and_counted(flood: Flood) -> None:
    assert {answer.status_code for answer in flood.answers} == {400, 413}
    assert all(answer.json()["detail"] and answer.json()["action"] for answer in flood.answers)
    assert flood.refusals == HALF


def test_the_good_event_beside_a_bad_one_is_taken(flood: Flood) -> None:
    told = [[result["status"] for result in answer.json()["results"]] for answer in flood.mixed]
    assert told == [["accepted", "rejected"]] * GOOD


def test_every_malformed_record_is_set_aside_once_and_the_good_ones_applied(flood: Flood) -> None:
    assert flood.counts == Counts(applied=GOOD, dead_lettered=HALF)


def test_dead_letters_are_the_original_bytes(flood: Flood, stack: Deployment) -> None:
    queue = whole_topic(stack.connections, topics.EVENTS_DLQ.name)
    kept = [(letter_of(record.headers).origin, (record.key, record.value)) for record in queue]
    ours = {at: record for at, record in kept if at in flood.sent}
    assert len([at for at, _ in kept if at in flood.sent]) == HALF
    assert ours == flood.sent


def test_nothing_crashed(flood: Flood) -> None:
    assert flood.after == flood.before
    assert {live for _, _, live in flood.after.values()} == {200}


def test_good_events_are_answered_after_the_flood_as_before(flood: Flood, stack: Deployment) -> None:
    assert set(stack.decided(flood.acked)) == set(flood.acked)


def test_the_command_line_says_why(flood: Flood, stack: Deployment) -> None:
    said = stack.rgalign("topics", "dlq", "--limit", "600")
    assert re.search(r"\d+ dead letters: ", said)
    for reason in ("bad_json", "too_large", "wrong_key", "empty"):
        assert re.search(rf"\d+ {reason}\b", said), reason
    assert all(at.rpartition(".")[2] in said for at in flood.sent)


def test_a_mended_dead_letter_is_applied(flood: Flood, stack: Deployment, tmp_path: Path) -> None:
    at = next(at for at, (_, value) in flood.sent.items() if value == b"{'id': 1}")
    mended = tmp_path / "event.json"
    mended.write_bytes(orjson.dumps(spoiled.event(id="mended", user="mended", time=datetime.now(UTC))))
    before = stage.totals(stack.connections)
    assert "sent " in stack.rgalign("topics", "dlq", "--redrive", at, "--fixed", str(mended))
    assert stack.decided(["mended"])["mended"].user == "mended"
    after = stage.totals(stack.connections)
    assert (after.applied, after.dead_lettered) == (before.applied + 1, before.dead_lettered)
