"""Exchanging the model and the knowledge base: only what is verified is served, and a refusal changes nothing."""

from __future__ import annotations

import shutil
from datetime import UTC, datetime
from pathlib import Path
from types import SimpleNamespace

import pytest

from export.bundle import canonical, read, sealed
from export.registry import Registry
from features import knowledge
from features.notices import IntentChange, ModelRelease
from stream import hot_swap
from stream.hot_swap import BundleSlot, LiveKnowledge
from stream.telemetry import REGISTRY

NOW = datetime(2026, 1, 1, tzinfo=UTC)


def release(folder: Path, **changes: str) -> ModelRelease:
    opened = read(folder)
    told = {
        "stage": "serving",
        "version": opened.manifest.version,
        "uri": folder.absolute().as_uri(),
        "manifest_sha256": opened.manifest_sha256,
        "space_id": opened.manifest.space_id,
        "schema_fingerprint": opened.manifest.schema_fingerprint,
        "kb_version": opened.manifest.kb_version,
        "time": NOW,
    }
    return ModelRelease.model_validate({**told, **changes})


def record(value: bytes | None) -> SimpleNamespace:
    return SimpleNamespace(topic="t", partition=0, offset=0, value=value)


def swaps(result: str) -> float:
    return REGISTRY.get_sample_value("rgalign_swaps_total", {"result": result}) or 0.0


@pytest.fixture
async def slot(bundle: Path) -> BundleSlot:
    filled = BundleSlot("demo")
    await filled.apply([record(release(bundle).to_json())])
    return filled


async def test_the_last_serving_release_of_the_tenant_is_served(bundle: Path, slot: BundleSlot) -> None:
    before = slot.ranker
    for other in ({"stage": "staged"}, {"tenant": "another"}):
        await slot.apply([record(release(bundle, version="x", manifest_sha256="0" * 64, **other).to_json())])
    assert slot.ranker is before is not None


@pytest.mark.parametrize(
    "changes",
    [
        {"manifest_sha256": "0" * 64},
        {"space_id": "1" * 64},
        {"schema_fingerprint": "other"},
        {"uri": "http://x/y"},
    ],
)
async def test_a_release_that_its_bundle_does_not_keep_is_refused(bundle: Path, changes: dict[str, str]) -> None:
    empty, refused = BundleSlot("demo"), swaps("refused")
    assert not await empty.swap(release(bundle, **changes))
    assert empty.ranker is None
    assert swaps("refused") == refused + 1


async def test_a_bundle_over_other_columns_than_the_workers_is_refused(
    bundle: Path, slot: BundleSlot, monkeypatch: pytest.MonkeyPatch
) -> None:
    empty, before = BundleSlot("demo"), slot.ranker
    monkeypatch.setattr(hot_swap, "fingerprint", lambda: "columns of a newer worker")
    assert not await empty.swap(release(bundle))
    assert not await slot.swap(release(bundle, manifest_sha256="0" * 64))
    assert (empty.ranker, slot.ranker) == (None, before)


async def test_a_bundle_whose_space_is_not_that_of_its_adapter_is_refused(bundle: Path, tmp_path: Path) -> None:
    shutil.copytree(bundle, tmp_path / "copy")
    claimed = sealed(read(bundle).manifest.model_copy(update={"space_id": "7" * 64}))
    (tmp_path / "copy" / "manifest.json").write_bytes(canonical(claimed))
    empty = BundleSlot("demo")
    assert not await empty.swap(release(tmp_path / "copy"))
    assert empty.ranker is None


async def test_a_flipped_byte_is_refused_and_the_old_model_stays(
    bundle: Path, slot: BundleSlot, tmp_path: Path
) -> None:
    registry, before = Registry(tmp_path), slot.ranker
    registry.publish(bundle)
    folder = registry.path(registry.versions()[-1])
    told = release(folder)
    weights = bytearray((folder / "ranker.onnx").read_bytes())
    weights[len(weights) // 2] ^= 1
    (folder / "ranker.onnx").write_bytes(weights)
    assert not await slot.swap(told)
    assert slot.ranker is before


async def test_an_unreadable_release_changes_nothing(slot: BundleSlot) -> None:
    before = slot.ranker
    await slot.apply([record(b"{"), record(None)])
    assert slot.ranker is before


async def test_a_disabled_intent_leaves_the_candidates_and_its_columns_stay_right(slot: BundleSlot) -> None:
    live = LiveKnowledge("demo")
    kb = knowledge.load()
    changes = knowledge.changes(knowledge.diff(live.kb, kb), "demo", NOW)
    await live.apply([record(change.to_json()) for change in changes])
    gone = kb.intents[3].model_copy(update={"status": "disabled"})
    off = IntentChange(intent_id=gone.id, kb_version="x", time=NOW, intent=gone.model_dump(mode="json"))
    await live.apply([record(off.to_json()), record(b"not json")])
    serving = slot.serving(live.kb)
    named = [serving.ranker.intent_ids[i] for i in serving.columns]
    assert named == [intent.id for intent in serving.intents]
    assert set(serving.ranker.intent_ids) - set(named) == {gone.id}


async def test_what_is_served_is_the_same_object_until_something_changes(slot: BundleSlot) -> None:
    kb = knowledge.load()
    assert slot.serving(kb) is slot.serving(kb) is not slot.serving(knowledge.KnowledgeBase(kb.intents[:5]))
