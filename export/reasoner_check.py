"""Proves a reasoner's backend against the reference and keeps the record, exporting the graph first if it needs one."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from export.reasoner_graph import ensure_graph
from features.parity_prompts import ParityPrompts, parity_prompts
from features.parity_record import ParityRecord, agreement, recall, store
from features.reasoner import Reasoner, opened_unproved
from features.reasoner_identity import REFERENCE
from features.reasoner_plan import Plan, planned
from features.reasoner_settings import ReasonerSettings
from features.vectors import Source, embed_kept

Progress = Callable[[str, int, int], None]


def check_reasoner(
    folder: Path,
    settings: ReasonerSettings,
    prompts: ParityPrompts | None = None,
    progress: Progress = lambda *_: None,
) -> ParityRecord:
    """Measures the backend that the settings name for a model folder; the record is kept whether it holds or not.

    With backend auto on a CPU that is ONNX Runtime, which auto chooses once its record holds.

    Minutes on a CPU. Raises what `open_reasoner` and `ensure_graph` raise, but no `NoParity`.
    """
    plan = planned(folder, settings)
    if settings.backend == "auto" and plan.device == "cpu":
        plan = planned(folder, settings.model_copy(update={"backend": "onnx"}))
    if plan.backend == "onnx":
        ensure_graph(folder, settings.cache, plan.dtype, progress)
    record = measured(folder, opened_unproved(folder, plan, settings), settings, prompts or parity_prompts(), progress)
    store(settings.cache, record)
    return record


def measured(
    folder: Path, backend: Reasoner, settings: ReasonerSettings, prompts: ParityPrompts, progress: Progress
) -> ParityRecord:
    """The record of a loaded backend. The reference's states are kept in the cache: it runs once a space."""
    plan = Plan("torch", "cpu", "fp32", backend.mode, backend.base_id)
    reference = Source(plan.base_id, lambda: opened_unproved(folder, plan, settings))
    texts, intents = [*prompts.intents, *prompts.queries], len(prompts.intents)
    wanted = embed_kept(texts, settings.cache / "reasoners" / "reference", reference, progress)
    found = wanted if backend.provider == REFERENCE else backend.embed(texts, progress)
    cosines = agreement(wanted, found)
    return ParityRecord(
        base_id=backend.base_id,
        provider=backend.provider,
        prompts_sha256=prompts.sha256,
        prompts=len(texts),
        centred_cosine_min=float(cosines.min()),
        centred_cosine_mean=float(cosines.mean()),
        recall_reference=recall(wanted[intents:], wanted[:intents], prompts.truth),
        recall=recall(found[intents:], found[:intents], prompts.truth),
    )
