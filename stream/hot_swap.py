"""What decisions are made with, exchanged while the stream runs: the model bundle and the knowledge base."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from typing import Any

import structlog

from export import session
from export.bundle import BundleRejected
from export.registry import folder_of
from export.session import Ranker
from features.adapter import space_id
from features.contract import InvalidEvent, origin, parse
from features.knowledge import KnowledgeBase
from features.notices import IntentChange, ModelRelease
from features.schema import fingerprint
from stream.ranking import Serving
from stream.telemetry import MODEL_LOADED_TIMESTAMP_SECONDS, SWAPS

log = structlog.get_logger(__name__)


class BundleSlot:
    """The serving bundle: loaded and verified in a thread, then put in place between batches.

    A bundle that is refused (wrong hash, another schema, scores that differ) or cannot be read changes nothing.
    """

    def __init__(self, tenant: str) -> None:
        self._tenant = tenant
        self._serving: Serving | None = None
        self.ranker: Ranker | None = None

    async def apply(self, records: Sequence[Any]) -> None:
        """Takes records of the models topic: the last release for serving counts."""
        releases = [release for record in records if (release := self._release(record)) is not None]
        if releases:
            await self.swap(releases[-1])

    def _release(self, record: Any) -> ModelRelease | None:
        if record.value is None:
            return None
        try:
            release = parse(ModelRelease, record.value)
        except InvalidEvent as error:
            log.error("release_unreadable", at=origin(record.topic, record.partition, record.offset), error=str(error))
            SWAPS.labels(result="refused").inc()
            return None
        return release if release.stage == "serving" and release.tenant == self._tenant else None

    async def swap(self, release: ModelRelease) -> bool:
        """Loads a release and serves it; False (and the old one stays) when it is refused or cannot be read."""
        if self.ranker is not None and self.ranker.manifest_sha256 == release.manifest_sha256:
            return True
        before = None if self.ranker is None else self.ranker.version
        try:
            self.ranker = await asyncio.to_thread(load, release)
        except BundleRejected as error:
            log.error("bundle_refused", version=release.version, still_serving=before, error=str(error))
            SWAPS.labels(result="refused").inc()
            return False
        except (OSError, session.DeviceUnavailable) as error:
            log.error("bundle_unreadable", version=release.version, still_serving=before, error=str(error))
            SWAPS.labels(result="failed").inc()
            return False
        SWAPS.labels(result="swapped").inc()
        MODEL_LOADED_TIMESTAMP_SECONDS.set(time.time())
        log.info("bundle_swapped", version=release.version, before=before)
        return True

    def serving(self, kb: KnowledgeBase) -> Serving | None:
        """The model and knowledge base to decide with now; None before the first bundle."""
        if self.ranker is None:
            return None
        current = self._serving
        if current is None or current.ranker is not self.ranker or current.kb is not kb:
            current = self._serving = Serving(self.ranker, kb)
        return current


def load(release: ModelRelease) -> Ranker:
    """The ranker of a release, verified against everything the release says. Raises `BundleRejected`, OSError.

    The columns must be those that this program computes, and the space the one that the bundle's reasoner and adapter
    make: a worker never ranks with what it did not compute, nor with queries of another space.
    """
    ranker = session.load(folder_of(release.uri), release.manifest_sha256, fingerprint(), release.space_id)
    manifest = ranker.manifest
    if release.schema_fingerprint != manifest.schema_fingerprint:
        found = f"a release of {manifest.version} for schema {release.schema_fingerprint}"
        raise BundleRejected("wrong_schema", found, f"schema {manifest.schema_fingerprint}, as its bundle says")
    if (made := space_id(manifest.base_id, manifest.adapter_id)) != manifest.space_id:
        raise BundleRejected("wrong_space", f"space {manifest.space_id}", f"space {made} of its reasoner and adapter")
    return ranker


class LiveKnowledge:
    """The knowledge base as the compacted topic has it."""

    def __init__(self, tenant: str) -> None:
        self._tenant = tenant
        self.kb = KnowledgeBase()

    async def apply(self, records: Sequence[Any]) -> None:
        """Takes records of the KB topic, in order; one that is unfit is logged and changes nothing."""
        kb = self.kb
        for record in records:
            kb = changed(kb, record, self._tenant)
        if kb is not self.kb:
            self.kb = kb
            log.info("knowledge_changed", version=kb.version, intents=len(kb.intents))


def changed(kb: KnowledgeBase, record: Any, tenant: str) -> KnowledgeBase:
    """The knowledge base after one record of its topic (a tombstone changes nothing: retiring is a message)."""
    if record.value is None:
        return kb
    try:
        change = parse(IntentChange, record.value)
        return kb.with_change(change) if change.tenant == tenant else kb
    except InvalidEvent as error:
        log.error("intent_unreadable", at=origin(record.topic, record.partition, record.offset), error=str(error))
        return kb
