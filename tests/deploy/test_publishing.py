"""What operators publish is read back from the compacted topics."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from deploy.publishing import (
    NothingToRollBackTo,
    SpaceNotFilled,
    live_knowledge,
    publish_knowledge,
    release,
    released,
    rollback,
)
from export.assemble import tiny
from export.bundle import read_manifest
from export.registry import Registry
from features.knowledge import load
from features.querycache import QueryCache
from features.redis_client import open_redis
from features.settings import Connections


def _publish_tiny(connections: Connections, draft: Path, seed: int) -> str:
    tiny(draft, ["a", "b", "c"], seed=seed, cache=Connections().cache)
    uri, _ = Registry(connections.registry).publish(draft)
    return uri.rpartition("/")[2]


def test_a_published_knowledge_base_is_the_live_one(topics: Connections):
    kb = load()
    assert publish_knowledge(topics, kb) == len(kb.intents)
    assert live_knowledge(topics).version == kb.version


def test_publishing_twice_changes_nothing(topics: Connections):
    publish_knowledge(topics, load())
    assert publish_knowledge(topics, load()) == 0


def test_a_release_is_staged_and_then_serves(topics: Connections, tmp_path: Path):
    version = _publish_tiny(topics, tmp_path / "one", seed=1)
    release(topics, version, wait_s=0)
    assert [message.version for message in released(topics, "staged")] == [version]
    assert [message.version for message in released(topics, "serving")] == [version]


class Filling:
    """An embedder's words about a space, one share each time the release has a look."""

    def __init__(self, connections: Connections, space_id: str, *shares: float) -> None:
        self._connections, self._space_id, self._shares = connections, space_id, iter(shares)

    def __call__(self, _: float) -> None:
        if (share := next(self._shares, None)) is not None:
            asyncio.run(self._tell(share))

    async def _tell(self, share: float) -> None:
        async with open_redis(self._connections) as redis:
            await QueryCache(redis, self._connections).set_ready(self._space_id, share)


def _space_of(connections: Connections, version: str) -> str:
    return read_manifest(Registry(connections.registry).path(version)).space_id


def test_a_bundle_serves_once_its_space_holds_95_percent_of_the_traffic(topics: Connections, tmp_path: Path):
    version = _publish_tiny(topics, tmp_path / "one", seed=1)
    filling = Filling(topics, _space_of(topics, version), 0.1, 0.5, 0.96)
    assert release(topics, version, wait_s=1, sleep=filling).ready_share == 0.96


def test_a_bundle_whose_space_stays_too_empty_never_serves(topics: Connections, tmp_path: Path):
    version = _publish_tiny(topics, tmp_path / "one", seed=1)
    with pytest.raises(SpaceNotFilled, match=r"94%.*run the command again"):
        release(topics, version, wait_s=1, sleep=Filling(topics, _space_of(topics, version), 0.5, 0.94))
    assert [message.version for message in released(topics, "staged")] == [version]
    assert released(topics, "serving") == []


def test_what_was_filled_for_an_earlier_release_is_not_believed(topics: Connections, tmp_path: Path):
    version = _publish_tiny(topics, tmp_path / "one", seed=1)
    Filling(topics, _space_of(topics, version), 1.0)(0)
    with pytest.raises(SpaceNotFilled, match="20%"):
        release(topics, version, wait_s=1, sleep=Filling(topics, _space_of(topics, version), 0.2))


def test_rollback_serves_the_bundle_before(topics: Connections, tmp_path: Path):
    first = _publish_tiny(topics, tmp_path / "one", seed=1)
    second = _publish_tiny(topics, tmp_path / "two", seed=2)
    release(topics, second, wait_s=0)
    assert rollback(topics, wait_s=0).version == first


def test_rollback_without_an_older_bundle_says_what_is_there(topics: Connections, tmp_path: Path):
    release(topics, _publish_tiny(topics, tmp_path / "one", seed=1), wait_s=0)
    with pytest.raises(NothingToRollBackTo, match="no older bundle"):
        rollback(topics)
