"""A training round's checkpoint, adapter and calibrator as one bundle on disk."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import orjson
from numpy.typing import NDArray
from safetensors.numpy import save

from export import bundle, parity, session, to_onnx
from export.bundle import Facts, Manifest
from features.adapter import Adapter, space_id
from features.schema import fingerprint
from training.checkpoint import Checkpoint, shape_for
from training.qerec import create

F32 = NDArray[np.float32]


def assemble(
    directory: Path,
    checkpoint: Checkpoint,
    text: F32,
    state: F32,
    *,
    adapter: Adapter,
    calibration: tuple[float, float],
    base_id: str,
    kb_version: str,
    created: datetime,
    metrics: Mapping[str, float] | None = None,
    notes: Mapping[str, str] | None = None,
    cache: Path | None = None,
) -> Manifest:
    """Writes a draft bundle to `directory`, which must not exist; it is loaded and scored before it is written.

    text f32[N,E] and raw state f32[N,H] are the vectors of `checkpoint.intent_ids`; `calibration` is (a, b) of
    p = sigmoid(a s + b). `cache` is a folder for traced graphs, which saves seconds.
    """
    golden = _golden(checkpoint, text, state)
    parts = {
        **to_onnx.graphs(checkpoint.model, cache),
        "intents.safetensors": bytes(save({"text": _f32(text), "state": _f32(state)})),
        "adapter.safetensors": adapter_bytes(adapter),
        "calibrator.json": orjson.dumps({"a": calibration[0], "b": calibration[1]}),
        "golden.safetensors": golden.to_bytes(),
    }
    facts = Facts(
        created=created,
        space_id=space_id(base_id, adapter.adapter_id),
        base_id=base_id,
        adapter_id=adapter.adapter_id,
        schema_fingerprint=fingerprint(),
        kb_version=kb_version,
        intent_ids=checkpoint.intent_ids,
        intent_families=checkpoint.families,
        parity=0.0,
        metrics={**checkpoint.metrics, **(metrics or {})},
        notes=dict(notes or {}),
    )
    served = session.opened(bundle.packed(parts, facts))
    difference = golden.difference(served.score(golden.encoded, golden.query, golden.has_query))
    return bundle.write(directory, parts, facts.model_copy(update={"parity": difference}))


def adapter_bytes(adapter: Adapter) -> bytes:
    """An adapter as the bundle carries it; `Adapter.load` reads the file."""
    return bytes(save({name: _f32(getattr(adapter, name)) for name in ("mean", "w1", "b1", "w2")}))


def tiny(
    directory: Path,
    intent_ids: Sequence[str],
    families: Sequence[str] | None = None,
    *,
    query_width: int = 32,
    text_width: int = 24,
    base_id: str = "0" * 64,
    seed: int = 0,
    cache: Path | None = None,
) -> Manifest:
    """A real bundle of an untrained model over random vectors: for tests of everything around the model.

    `base_id` is the reasoner whose queries of `query_width` it takes.
    """
    rng = np.random.default_rng(seed)
    named = tuple(families or ["general"] * len(intent_ids))
    shape = shape_for(len(intent_ids), len(set(named)), text_width, query_width)
    state = rng.standard_normal((len(intent_ids), query_width), np.float32)
    checkpoint = Checkpoint(create(shape, seed), tuple(intent_ids), named)
    return assemble(
        directory,
        checkpoint,
        rng.standard_normal((len(intent_ids), text_width), np.float32),
        state,
        adapter=Adapter.identity(state.mean(0), rank=4),
        calibration=(1.0, -1.0),
        base_id=base_id,
        kb_version="tiny",
        created=datetime(2026, 1, 1, tzinfo=UTC),
        cache=cache,
    )


def _golden(checkpoint: Checkpoint, text: F32, state: F32) -> parity.Golden:
    encoded, query, has_query = parity.requests(checkpoint.model.shape.query_width)
    intents = checkpoint.intents(checkpoint.intent_ids, checkpoint.families, text, state)
    return parity.Golden(encoded, query, has_query, checkpoint.logits(encoded, query, has_query, intents))


def _f32(array: F32) -> F32:
    return np.ascontiguousarray(array, np.float32)
