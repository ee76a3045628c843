"""Two real deployments for all shows, side by side on the session's Kafka and Valkey, both with model v0."""

from __future__ import annotations

import uuid
from collections.abc import Iterator

import pytest

from features.settings import Connections
from tests.shows.deployment import Deployment


def _deployed(kafka_url: str, redis_url: str, folders: pytest.TempPathFactory, *roles: str) -> Iterator[Deployment]:
    folder = folders.mktemp("shows")
    prefix = f"t{uuid.uuid4().hex[:12]}"
    connections = Connections(kafka_url=kafka_url, redis_url=redis_url, prefix=prefix, registry=folder / "registry")
    deployment = Deployment(connections, folder / "logs")
    try:
        yield deployment.seed().start(*roles)
    finally:
        deployment.close()


@pytest.fixture(scope="session")
def stack(kafka_url: str, redis_url: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Deployment]:
    """Gateway and worker; the embedder joins where a show needs it, so that elsewhere every query is null."""
    yield from _deployed(kafka_url, redis_url, tmp_path_factory, "gateway", "worker")


@pytest.fixture(scope="session")
def twin(kafka_url: str, redis_url: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Deployment]:
    """A worker alone."""
    yield from _deployed(kafka_url, redis_url, tmp_path_factory, "worker")
