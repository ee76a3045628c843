"""From logged examples to a published bundle: the steps that the first model and every later round share."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from deploy.screen import Advance
from export.assemble import assemble
from export.registry import Registry, folder_of
from features.adapter import Adapter
from features.knowledge import KnowledgeBase
from features.parity_record import known
from features.vectors import IntentVectors
from training import calibrate, cycle
from training.checkpoint import Checkpoint
from training.dataset import Dataset, attach_queries, split_by_time

F32 = NDArray[np.float32]

CALIBRATION_SHARE = 0.15
"""The latest share of the examples, which the ranker never sees: its scores are calibrated there (2.6 d)."""


@dataclass(frozen=True, slots=True, eq=False)
class Material:
    """What a model is made of: the intents with their vectors, and the reasoner's raw states by state hash."""

    kb: KnowledgeBase
    vectors: IntentVectors
    base_id: str
    states: Mapping[str, F32]

    @property
    def families(self) -> dict[str, str]:
        """Each intent's family."""
        return {intent.id: intent.family for intent in self.kb.intents}

    @property
    def intent_ids(self) -> tuple[str, ...]:
        """The intents in the order of the vectors."""
        return self.vectors.ids

    def queries(self, dataset: Dataset, adapter: Adapter) -> tuple[F32, NDArray[np.bool_]]:
        """The latent queries f32[B,H] in the adapter's space and where they are known, bool[B]."""
        raw, has_query = self.raw(dataset)
        query = np.zeros_like(raw)
        if has_query.any():
            query[has_query] = adapter.apply(raw[has_query])
        return query, has_query

    def raw(self, dataset: Dataset) -> tuple[F32, NDArray[np.bool_]]:
        """The reasoner's own states f32[B,H] and where they are known, bool[B]."""
        width = self.vectors.state.shape[1]
        return attach_queries(dataset, lambda hashes: {h: self.states[h] for h in hashes if h in self.states}, width)


@dataclass(frozen=True, slots=True, eq=False)
class Built:
    """A bundle in the registry, and the checkpoint that a later round goes on from."""

    version: str
    folder: Path
    checkpoint: Path


def train_and_publish(
    material: Material,
    dataset: Dataset,
    adapter: Adapter,
    registry: Registry,
    *,
    cache: Path,
    seed: int,
    previous: tuple[Checkpoint, Adapter] | None = None,
    metrics: Mapping[str, float] | None = None,
    note: str = "",
    progress: Advance = lambda *_: None,
) -> Built:
    """Trains on `dataset` (further from `previous`, if given), calibrates on its latest part, exports and publishes.

    `cache` keeps the traced graphs: tracing one shape takes seconds, swapping weights does not.
    """
    fit_part, calibration_part = split_by_time(dataset, 1 - CALIBRATION_SHARE)
    checkpoint = cycle.train(
        fit_part,
        material.vectors,
        material.families,
        *material.queries(fit_part, adapter),
        seed=seed,
        warm_start=previous[0] if previous else None,
        teacher_query=material.queries(fit_part, previous[1])[0] if previous else None,
        progress=lambda _what, done, total: progress("train the ranker", done, total),
    )
    logits = cycle.scores(checkpoint, calibration_part, material.vectors, *material.queries(calibration_part, adapter))
    fitted = calibrate.fit(logits, calibration_part.exposed, calibration_part.positions, calibration_part.clicks)
    progress("export to ONNX", 0, 1)
    with tempfile.TemporaryDirectory() as scratch:
        draft = Path(scratch) / "bundle"
        assemble(
            draft,
            checkpoint,
            *cycle.aligned(material.vectors, checkpoint.intent_ids),
            adapter=adapter,
            calibration=(fitted.a, fitted.b),
            base_id=material.base_id,
            kb_version=material.kb.version,
            created=datetime.now(UTC),
            metrics=metrics,
            notes={**({"note": note} if note else {}), **_parity_notes(cache, material.base_id)},
            cache=cache,
        )
        uri, _ = registry.publish(draft)
    progress("export to ONNX", 1, 1)
    folder = folder_of(uri)
    kept = checkpoint_path(registry, folder.name)
    kept.parent.mkdir(parents=True, exist_ok=True)
    checkpoint.save(kept)
    return Built(folder.name, folder, kept)


def _parity_notes(cache: Path, base_id: str) -> dict[str, str]:
    """The parity records of the reasoner's backends that this machine holds, to travel with the bundle."""
    return {f"parity of {provider}": told for provider, told in known(cache, base_id).items()}


def checkpoint_path(registry: Registry, version: str) -> Path:
    """Where the training checkpoint behind a version lies; it never travels to a worker."""
    return registry.root / "checkpoints" / f"{version}.safetensors"
