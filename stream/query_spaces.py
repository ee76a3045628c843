"""The spaces that latent queries are kept in: one adapter a released bundle, refilled before it is served."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import structlog
from numpy.typing import NDArray

from export import bundle
from export.bundle import BundleRejected
from export.registry import folder_of
from features.adapter import Adapter, AdapterMismatch, space_id
from features.contract import InvalidEvent, origin, parse
from features.notices import ModelRelease
from features.querycache import QueryCache
from stream.telemetry import SPACE_READY_RATIO

log = structlog.get_logger(__name__)

F32 = NDArray[np.float32]
REFILL_CHUNK = 256


@dataclass(frozen=True, slots=True)
class Space:
    """An adapter and the id of the space that its vectors live in."""

    space_id: str
    adapter: Adapter


class OtherReasoner(ValueError):
    """A bundle whose queries come from another reasoner than this embedder's."""


@dataclass(slots=True)
class QuerySpaces:
    """The serving and the staged space of a tenant; every base state is kept in each of them."""

    tenant: str
    base_id: str
    width: int
    cache: QueryCache
    _by_stage: dict[str, Space] = field(default_factory=dict)

    @property
    def serving(self) -> Space | None:
        """The space that rankers read; None before the first release."""
        return self._by_stage.get("serving")

    @property
    def all(self) -> tuple[Space, ...]:
        """The spaces that are filled, each once."""
        return tuple({space.space_id: space for space in self._by_stage.values()}.values())

    async def apply(self, records: Sequence[Any]) -> None:
        """Takes records of the models topic: loads each stage's newest release and refills its space."""
        releases = (self._release(record) for record in records)
        for stage, release in {release.stage: release for release in releases if release is not None}.items():
            await self._adopt(stage, release)

    def _release(self, record: Any) -> ModelRelease | None:
        try:
            release = None if record.value is None else parse(ModelRelease, record.value)
        except InvalidEvent as error:
            log.error("release_unreadable", at=origin(record.topic, record.partition, record.offset), error=str(error))
            return None
        return release if release is not None and release.tenant == self.tenant else None

    async def _adopt(self, stage: str, release: ModelRelease) -> None:
        try:
            space = await asyncio.to_thread(opened, release, self.base_id, self.width)
        except (BundleRejected, OtherReasoner, AdapterMismatch, OSError) as error:
            log.error("space_refused", version=release.version, stage=stage, error=str(error))
            return
        self._by_stage[stage] = space
        await self.refill(space)

    async def refill(self, space: Space) -> None:
        """Adapts every base state that is still known into `space`, what the traffic asks for most first.

        As it goes it tells the share of the traffic that is done: a release waits for 95 % of it.
        """
        asked = await self.cache.asked(self.base_id)
        known = list(asked)
        done = gone = 0.0
        for start in range(0, len(known), REFILL_CHUNK):
            hashes = known[start : start + REFILL_CHUNK]
            states = await self.cache.read_base(self.base_id, hashes, self.width)
            found = {name: state for name, state in zip(hashes, states, strict=True) if state is not None}
            await self.write(space, found)
            done += sum(asked[name] for name in found)
            gone += sum(asked[name] for name in hashes if name not in found)
            await self._tell(space, done / max(sum(asked.values()) - gone, 1.0))
        await self._tell(space, 1.0)
        log.info("space_filled", space_id=space.space_id[:16], queries=len(known))

    async def _tell(self, space: Space, share: float) -> None:
        await self.cache.set_ready(space.space_id, share)
        SPACE_READY_RATIO.set(share)

    async def write(self, space: Space, states: Mapping[str, F32]) -> dict[str, F32]:
        """Adapts base states by state hash into `space` and stores them; returns the vectors."""
        if not states:
            return {}
        vectors = dict(zip(states, space.adapter.apply(np.stack(list(states.values()))), strict=True))
        await self.cache.write_adapted(space.space_id, vectors)
        return vectors


def opened(release: ModelRelease, base_id: str, width: int) -> Space:
    """The space of a verified release. Raises `BundleRejected`, `OtherReasoner`, `AdapterMismatch`, OSError."""
    verified = bundle.read(folder_of(release.uri), release.manifest_sha256)
    if verified.manifest.base_id != base_id:
        raise OtherReasoner(
            f"bundle {release.version} was built on the reasoner {verified.manifest.base_id[:16]}, this embedder runs "
            f"{base_id[:16]}: run an embedder with that model folder, or build the bundle again"
        )
    adapter = Adapter.from_bytes(verified.files["adapter.safetensors"])
    if adapter.width != width:
        raise AdapterMismatch(f"bundle {release.version} has an adapter of width {adapter.width}, expected {width}")
    if (found := space_id(base_id, adapter.adapter_id)) != release.space_id:
        raise AdapterMismatch(
            f"bundle {release.version} says space {release.space_id[:16]}, its adapter makes {found[:16]}: rebuild it"
        )
    return Space(release.space_id, adapter)
