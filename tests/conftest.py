"""Real services for every test: one Kafka and one Valkey a session, a fresh prefix a test."""

from __future__ import annotations

import os
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

from deploy.embedded import Embedded
from features.settings import Connections


@pytest.fixture(scope="session")
def kafka_url() -> Iterator[str]:
    """KAFKA_URL if it is set, else an embedded broker, started when the first test asks for it."""
    if url := os.environ.get("KAFKA_URL"):
        yield url
        return
    with Embedded().start(redis=False) as services:
        yield services.kafka_url


@pytest.fixture(scope="session")
def redis_url() -> Iterator[str]:
    """REDIS_URL if it is set, else an embedded Valkey, started when the first test asks for it."""
    if url := os.environ.get("REDIS_URL"):
        yield url
        return
    with Embedded().start(kafka=False) as services:
        yield services.redis_url


@pytest.fixture
def prefix() -> str:
    """A prefix that no other test uses, for topics, consumer groups and Redis keys."""
    return f"t{uuid.uuid4().hex[:12]}"


@pytest.fixture
def connections(kafka_url: str, redis_url: str, prefix: str, tmp_path: Path) -> Connections:
    """Where the services are, under this test's prefix; no topics yet."""
    return Connections(kafka_url=kafka_url, redis_url=redis_url, prefix=prefix, registry=tmp_path / "registry")


@pytest.fixture
def topics(connections: Connections) -> Connections:
    """`connections`, with every topic created (4 partitions for the keyed ones) and known to the broker."""
    from stream.topics import create

    create(connections, partitions=4)
    return connections
