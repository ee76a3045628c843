"""Personal data planted in every text of every kind of event is in no prompt, no log line, no trace and no metric."""

from __future__ import annotations

import json
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import product
from typing import Any

import httpx
import pytest
from kafka import KafkaProducer

from deploy.log_reader import whole_topic
from features.settings import Connections
from stream import topics
from tests.shows.collecting import collector
from tests.shows.deployment import Deployment

pytestmark = pytest.mark.timeout(600)

ROLES = ("gateway", "worker", "embedder")
TRACED = {"traceparent": "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"}
CANARIES = {
    "mail me at Canary.Jo@canary-mail.example": ("canaryjo", "canarymail"),
    "write to canary.kim (at) canary-post [dot] example": ("canarykim", "canarypost"),
    "it is canary.lee at canaryhost dot example": ("canarylee", "canaryhost"),
    "my card 4929 1111 2222 3337 exp 12/27": ("4929111122223337",),
    "card 4929\u200b3333-4444\u20115559": ("4929333344445559",),
    "iban de89 3704 0044 0532 0130 77": ("370400440532013077",),
    "call +44 (0)20 7946 09581": ("2079460958",),
    "order no. CAN-90817 never came": ("can90817",),
    "token sk-canary-AB12cd34EF56": ("ab12cd34ef56",),
    "password: canaryHunter2!": ("canaryhunter",),
    "see https://canary.example/reset?key=canarykey77": ("canarykey", "canaryexample"),
}
"""What is typed, and what of it, squeezed to letters and digits, must be nowhere."""
EVENTS: tuple[tuple[str, dict[str, Any], str], ...] = (
    ("searched", {}, "query"),
    ("chat_opened", {}, "text"),
    ("help_page_opened", {}, "topic"),
    ("payment_failed", {}, "error"),
    ("payment_failed", {}, "method"),
    ("voucher_rejected", {}, "voucher"),
    ("account_changed", {}, "change"),
    ("return_requested", {"order_id": "o1"}, "item_title"),
    ("order_status_changed", {"order_id": "o1", "order_status": "delayed"}, "carrier"),
    ("page_viewed", {"page": "help"}, "path"),
)
"""Every kind of event that holds a text, and the field it stands in."""


@dataclass(frozen=True)
class Sinks:
    """Everything that the deployment wrote down for others to read, by name."""

    written: dict[str, list[str]]


def _event(number: int, kind: str, data: dict[str, Any]) -> dict[str, Any]:
    now = datetime.now(UTC).isoformat()
    return {"id": f"canary-{number}", "type": kind, "time": now, "user": f"shopper{number}", "data": data}


def _planted() -> list[dict[str, Any]]:
    return [
        _event(number, kind, {**data, field: canary})
        for number, (canary, (kind, data, field)) in enumerate(product(CANARIES, EVENTS))
    ]


def _refused() -> list[dict[str, Any]]:
    """Events that are set aside: each canary stands where none may be."""
    places = ({"order_status": "CANARY"}, {"page": "CANARY"}, {"amount": "CANARY"}, {"query": ["CANARY"]})
    return [
        _event(10_000 + number, "page_viewed", json.loads(json.dumps(place).replace("CANARY", canary)))
        for number, (canary, place) in enumerate(product(CANARIES, places))
    ]


def _append(connections: Connections, events: list[dict[str, Any]]) -> None:
    producer = KafkaProducer(bootstrap_servers=connections.kafka_url, acks="all")
    headers = [(name, value.encode()) for name, value in TRACED.items()]
    topic = connections.named(topics.EVENTS.name)
    for event in events:
        producer.send(topic, json.dumps(event).encode(), f"demo:{event['user']}".encode(), headers)
    producer.flush(30)
    producer.close()


@pytest.fixture(scope="module")
def sinks(kafka_url: str, redis_url: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sinks]:
    """All three roles, traced, after every canary went in by the gateway and by the log."""
    folder, prefix = tmp_path_factory.mktemp("canaries"), f"t{uuid.uuid4().hex[:12]}"
    connections = Connections(kafka_url=kafka_url, redis_url=redis_url, prefix=prefix, registry=folder / "registry")
    deployment = Deployment(connections, folder / "logs")
    with pytest.MonkeyPatch.context() as patch, collector() as (url, bodies):
        patch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", url)
        try:
            deployment.seed().start(*ROLES)
            metrics = _played(deployment)
            for role in ROLES:
                deployment.stop(role)
        finally:
            deployment.close()
        logs = [path.read_text() for path in sorted((folder / "logs").rglob("*.log"))]
        yield Sinks(
            {
                "prompts": [str(r.value, "utf-8") for r in whole_topic(connections, topics.QUERIES.name)],
                "decisions": [str(r.value, "utf-8") for r in whole_topic(connections, topics.DECISIONS.name)],
                "logs": [line for log in logs for line in log.splitlines()],
                "traces": [body.decode("utf-8", errors="replace") for body in bodies],
                "metrics": metrics,
            }
        )


def _played(deployment: Deployment) -> list[str]:
    """Sends everything and waits until it is decided and set aside; the metric pages then."""
    planted, refused = _planted(), _refused()
    with httpx.Client(base_url=deployment.url(), timeout=20, headers=TRACED) as http:
        for event in planted:
            http.post("/v1/events", json=event).raise_for_status()
        assert {http.post("/v1/events", json=event).status_code for event in refused} == {400}
    _append(deployment.connections, refused)
    asked = [event["id"] for event in planted if event["type"] in {"chat_opened", "help_page_opened", "payment_failed"}]
    deployment.decided(asked)
    assert deployment.books([event["id"] for event in planted]).is_closed
    return [httpx.get(f"{deployment.url(role)}/metrics").text for role in ROLES]


def squeezed(text: str) -> str:
    """Letters and digits alone, in lower case, so that no separator hides a canary.

    >>> squeezed("Card 4929-11")
    'card492911'
    """
    return "".join(character for character in text.lower() if character.isalnum())


@pytest.mark.parametrize("sink", ["prompts", "decisions", "logs", "traces", "metrics"])
def test_no_canary_is_in(sinks: Sinks, sink: str) -> None:
    needles = {needle for found in CANARIES.values() for needle in found}
    written = [squeezed(line) for line in sinks.written[sink]]
    seen = [(needle, line[:300]) for line in written for needle in needles if needle in line]
    assert seen == []


def test_every_sink_was_written_to(sinks: Sinks) -> None:
    prompts, logs = sinks.written["prompts"], "\n".join(sinks.written["logs"])
    assert sum("[email]" in prompt for prompt in prompts) >= len(EVENTS) // 2
    assert sum("[number]" in prompt or "[code]" in prompt for prompt in prompts) >= len(EVENTS) // 2
    assert logs.count('"dead_letter"') == 4 * len(CANARIES)
    assert len(sinks.written["traces"]) > 0
    assert "rgalign" in "".join(sinks.written["traces"])
    assert len(sinks.written["decisions"]) >= 3 * len(CANARIES)
