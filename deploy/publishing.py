"""What operators publish: the knowledge base and model releases, both compacted topics."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Literal

from kafka import KafkaProducer

from deploy.log_reader import whole_topic
from features.contract import Contract, parse
from features.kafka_client import open_kafka
from features.knowledge import KnowledgeBase, changes, diff
from features.notices import IntentChange, ModelRelease
from features.querycache import QueryCache
from features.redis_client import open_redis
from features.settings import Connections
from stream import topics

if TYPE_CHECKING:
    from rich.table import Table

READY_SHARE = 0.95
"""A space is served once this share of the recent latent queries exists in it (algorithm.md 2.8)."""


POLL_S = 0.2
WARM_DEADLINE_S = 20.0
"""How long an embedder may say nothing new of a space that it fills."""


class NothingToRollBackTo(RuntimeError):
    """The registry holds no bundle before the serving one."""


class SpaceNotFilled(RuntimeError):
    """An embedder fills a bundle's query space and has not come far enough to serve it."""


@dataclass(frozen=True, slots=True)
class Released:
    """A bundle that now serves, and how warm its query space was."""

    version: str
    ready_share: float | None

    def describe(self) -> str:
        """One line for a person."""
        warm = "no embedder answered; latent queries refill as they are asked for"
        if self.ready_share is not None:
            warm = f"{self.ready_share:.0%} of recent latent queries were refilled before the swap"
        return f"{self.version} is released; {warm}"


def publish(connections: Connections, topic: topics.Topic, messages: Iterable[tuple[str, Contract | None]]) -> int:
    """Sends keyed messages (None is a tombstone) and waits for all acknowledgements; returns how many."""
    producer = open_kafka(KafkaProducer, connections, acks="all")
    try:
        sent = [
            producer.send(connections.named(topic.name), key=key.encode(), value=message and message.to_json())
            for key, message in messages
        ]
        for future in sent:
            future.get(timeout=30)
        return len(sent)
    finally:
        producer.close()


def live_knowledge(connections: Connections) -> KnowledgeBase:
    """The knowledge base as the compacted topic now holds it."""
    kb = KnowledgeBase()
    for record in whole_topic(connections, topics.KB.name):
        if record.value is None:
            continue
        change = parse(IntentChange, record.value)
        if change.tenant == connections.tenant:
            kb = kb.with_change(change)
    return kb


def publish_knowledge(connections: Connections, new: KnowledgeBase) -> int:
    """Publishes the difference between the live knowledge base and `new`; returns the number of changes."""
    difference = diff(live_knowledge(connections), new)
    messages = changes(difference, connections.tenant, datetime.now(UTC))
    return publish(connections, topics.KB, ((message.key, message) for message in messages))


def released(connections: Connections, stage: Literal["staged", "serving"]) -> list[ModelRelease]:
    """What was released at this stage, oldest first, as far as compaction has kept it."""
    found = [parse(ModelRelease, record.value) for record in whole_topic(connections, topics.MODELS.name)]
    return [message for message in found if message.stage == stage and message.tenant == connections.tenant]


def release(
    connections: Connections,
    version: str,
    *,
    note: str = "",
    wait_s: float = WARM_DEADLINE_S,
    is_urgent: bool = False,
    sleep: Callable[[float], None] = time.sleep,
) -> Released:
    """Stages a bundle, waits while its query space fills, then has it served.

    The wait ends at `READY_SHARE` of the traffic, or when no embedder has told anything new for `wait_s`. Raises
    `SpaceNotFilled` when that is too little, unless it `is_urgent`; without any embedder there is nothing to wait for.
    """
    from export.bundle import read
    from export.registry import Registry

    folder = Registry(connections.registry).path(version)
    bundle = read(folder)
    manifest = bundle.manifest
    message = ModelRelease(
        tenant=connections.tenant,
        stage="staged",
        version=version,
        uri=folder.resolve().as_uri(),
        manifest_sha256=bundle.manifest_sha256,
        space_id=manifest.space_id,
        schema_fingerprint=manifest.schema_fingerprint,
        kb_version=manifest.kb_version,
        time=datetime.now(UTC),
        note=note,
    )
    asyncio.run(_forget_share(connections, manifest.space_id))
    publish(connections, topics.MODELS, [(message.key, message)])
    share = _wait_until_warm(connections, manifest.space_id, wait_s, sleep) if wait_s else None
    if share is not None and share < READY_SHARE and not is_urgent:
        raise SpaceNotFilled(
            f"{share:.0%} of the traffic's latent queries are in the space of {version} and no more came for "
            f"{wait_s:.0f} s; expected {READY_SHARE:.0%}: the bundle stays staged and the one before serves on; "
            "look at the embedder's log, then run the command again"
        )
    serving = message.model_copy(update={"stage": "serving", "time": datetime.now(UTC)})
    publish(connections, topics.MODELS, [(serving.key, serving)])
    return Released(version, share)


def rollback(connections: Connections, *, wait_s: float = WARM_DEADLINE_S) -> Released:
    """Serves the bundle before the serving one, however full its space is. Raises `NothingToRollBackTo`."""
    from export.registry import Registry

    versions = Registry(connections.registry).versions()
    serving = released(connections, "serving")
    place = versions.index(serving[-1].version) if serving and serving[-1].version in versions else 0
    if place == 0:
        raise NothingToRollBackTo(
            f"the registry {connections.registry} holds {versions or 'no bundle'} and "
            f"{serving[-1].version if serving else 'nothing'} serves: there is no older bundle; "
            "see `rgalign release list`"
        )
    return release(connections, versions[place - 1], note="rolled back", wait_s=wait_s, is_urgent=True)


def releases_table(connections: Connections) -> Table:
    """Every bundle of the registry, the serving one marked."""
    from rich.table import Table

    from export.bundle import read_manifest
    from export.registry import Registry

    registry = Registry(connections.registry)
    serving = released(connections, "serving")
    shown = Table("", "version", "knowledge base", "query space", "created", title="model bundles")
    for version in registry.versions():
        manifest = read_manifest(registry.path(version))
        mark = "serving" if serving and serving[-1].version == version else ""
        shown.add_row(mark, version, manifest.kb_version, manifest.space_id[:12], str(manifest.created))
    return shown


def _wait_until_warm(
    connections: Connections, space_id: str, wait_s: float, sleep: Callable[[float], None]
) -> float | None:
    """The share of the traffic that embedders report for a space, once it is enough or grows no more; None without."""
    share: float | None = None
    left = wait_s / POLL_S
    while left > 0 and (share is None or share < READY_SHARE):
        sleep(POLL_S)
        before, share = share, asyncio.run(_ready_share(connections, space_id))
        left = wait_s / POLL_S if share != before else left - 1
    return share


async def _forget_share(connections: Connections, space_id: str) -> None:
    """What was reported when the space was filled before says nothing of now."""
    async with open_redis(connections) as redis:
        await QueryCache(redis, connections).forget_ready(space_id)


async def _ready_share(connections: Connections, space_id: str) -> float | None:
    async with open_redis(connections) as redis:
        return await QueryCache(redis, connections).ready(space_id)
