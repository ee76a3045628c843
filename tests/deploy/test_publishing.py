"""What operators publish is read back from the compacted topics."""

from __future__ import annotations

from pathlib import Path

import pytest

from deploy.publishing import NothingToRollBackTo, live_knowledge, publish_knowledge, release, released, rollback
from export.assemble import tiny
from export.registry import Registry
from features.knowledge import load
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


def test_rollback_serves_the_bundle_before(topics: Connections, tmp_path: Path):
    first = _publish_tiny(topics, tmp_path / "one", seed=1)
    second = _publish_tiny(topics, tmp_path / "two", seed=2)
    release(topics, second, wait_s=0)
    assert rollback(topics, wait_s=0).version == first


def test_rollback_without_an_older_bundle_says_what_is_there(topics: Connections, tmp_path: Path):
    release(topics, _publish_tiny(topics, tmp_path / "one", seed=1), wait_s=0)
    with pytest.raises(NothingToRollBackTo, match="no older bundle"):
        rollback(topics)
