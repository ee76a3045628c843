"""A stage for stream tests: topics with the knowledge base, a real small bundle released, worker processes."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from kafka import KafkaProducer

from deploy.log_reader import whole_topic
from deploy.publishing import publish_knowledge, release
from export.assemble import tiny
from export.registry import Registry
from features import knowledge
from features.contract import parse
from features.decisions import Decision, Outcome
from features.events import EventData, UserEvent
from features.kafka_client import open_kafka
from features.ledger import Counts, Ledger
from features.models import ensure_reasoner
from features.reasoner import reasoner_id
from features.redis_client import open_redis
from features.settings import Connections
from stream import topics

ROOT = Path(__file__).parents[2]
WIDTH = 576
"""H of the default reasoner."""


def draft(folder: Path, seed: int = 0, **queries: Any) -> Path:
    """An untrained bundle over the project's knowledge base, not yet published; `queries` are those that it takes."""
    intents, made = knowledge.load().intents, folder / f"draft{seed}"
    tiny(made, [i.id for i in intents], [i.family for i in intents], seed=seed, cache=Connections().cache, **queries)
    return made


def released(connections: Connections, bundle: Path) -> str:
    """Publishes the knowledge base and releases a draft bundle; returns its version."""
    publish_knowledge(connections, knowledge.load())
    registry = Registry(connections.registry)
    registry.publish(bundle)
    version = registry.versions()[-1]
    release(connections, version, wait_s=0)
    return version


def heeding(connections: Connections) -> str:
    """Releases an untrained model that heeds the real reasoner's queries, as a trained one need not; its version."""
    base_id = reasoner_id(ensure_reasoner(connections.cache))
    with tempfile.TemporaryDirectory() as folder:
        return released(connections, draft(Path(folder), query_width=WIDTH, base_id=base_id))


def event(number: int, user: str = "u1", kind: str = "help_page_opened", **data: Any) -> UserEvent:
    """An event of now; every `number` is another id."""
    return UserEvent(
        id=f"e{number}", type=kind, time=datetime.now(UTC), user=user, data=EventData(topic="Where is my order", **data)
    )


def send(connections: Connections, messages: Sequence[UserEvent | Outcome | tuple[bytes, bytes]]) -> None:
    """Appends events, outcomes or raw (key, value) pairs of the event topic, and waits for their acknowledgement."""
    producer = open_kafka(KafkaProducer, connections, acks="all", linger_ms=5)
    for message in messages:
        topic = topics.OUTCOMES if isinstance(message, Outcome) else topics.EVENTS
        key, value = message if isinstance(message, tuple) else (message.key.encode(), message.to_json())
        producer.send(connections.named(topic.name), key=key, value=value)
    producer.flush(60)
    producer.close()


def totals(connections: Connections, topic: topics.Topic = topics.EVENTS) -> Counts:
    """The ledger's counts of a topic."""

    async def read() -> Counts:
        async with open_redis(connections) as redis:
            return await Ledger(redis, connections.named(topic.name), connections.prefix).totals(range(4))

    return asyncio.run(read())


def counted(
    connections: Connections, records: int, topic: topics.Topic = topics.EVENTS, timeout_s: float = 60
) -> Counts:
    """The ledger's counts once they add up to `records` (or more, or time is up)."""
    deadline_s = time.monotonic() + timeout_s
    while (found := totals(connections, topic)).records < records and time.monotonic() < deadline_s:
        time.sleep(0.1)
    return found


def decisions(connections: Connections, at_least: int = 0, timeout_s: float = 20) -> list[Decision]:
    """All decisions in the log, once there are enough of them."""
    deadline_s = time.monotonic() + timeout_s
    while len(found := whole_topic(connections, topics.DECISIONS.name)) < at_least and time.monotonic() < deadline_s:
        time.sleep(0.1)
    return [parse(Decision, record.value) for record in found]


class WorkerProcess:
    """A worker in a process of its own."""

    def __init__(self, connections: Connections, log: Path, health_port: int = 0, **settings: str) -> None:
        env = {
            **os.environ,
            **connections.environment(),
            "RGALIGN_SESSION_TIMEOUT_S": "6",
            "RGALIGN_HEALTH_PORT": str(health_port),
            "OMP_NUM_THREADS": "1",
            **settings,
        }
        self.log = log
        self.health = f"http://127.0.0.1:{health_port}/readyz"
        with log.open("ab") as output:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "stream.app"], cwd=ROOT, env=env, stdout=output, stderr=output
            )

    def wait_ready(self, timeout_s: float = 40) -> None:
        deadline_s = time.monotonic() + timeout_s
        while time.monotonic() < deadline_s:
            with contextlib.suppress(OSError):
                if urllib.request.urlopen(self.health, timeout=1).status == 200:
                    return
            assert self.process.poll() is None, self.log.read_text()[-4000:]
            time.sleep(0.1)
        raise AssertionError(self.log.read_text()[-4000:])

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()

    def stop(self) -> int:
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
        return self.process.wait(15)


@contextlib.contextmanager
def worker(connections: Connections, log: Path, health_port: int = 0, **settings: str) -> Iterator[WorkerProcess]:
    """A worker process that is gone at the end."""
    running = WorkerProcess(connections, log, health_port, **settings)
    try:
        yield running
    finally:
        running.kill()
