"""The whole report over a small model: everything at hand is measured and what is absent is said."""

import json

import pytest

from deploy.reasoner_report import DATA_ABSENT, GEMMA_ABSENT, Sizes, report
from features.intent import LocaleText
from features.knowledge import KnowledgeBase
from features.models import ensure_text_encoder
from features.settings import Connections
from tests.training.builders import intent
from tests.training.tiny_models import tiny_llama

SPANISH = {"es": LocaleText(title="¿Qué tallas hay?", description="Explica las tallas.")}
KB = KnowledgeBase(
    (
        intent("sizes", "goods").model_copy(update={"texts": SPANISH}),
        intent("hours", "shop"),
        intent("late", "delivery", needs_any=("order:delayed", "order:in_transit")),
        intent("declined", "payment", needs_all=("recent:payment_failed",)),
    )
)


@pytest.fixture
def cache(tmp_path, monkeypatch):
    """A cache of its own with MiniLM in it, and a small LLM set up as the reasoner."""
    monkeypatch.setenv("RGALIGN_REASONER", str(tiny_llama(tmp_path / "tiny-llama")))
    monkeypatch.chdir(tmp_path)
    kept = ensure_text_encoder(Connections().cache)
    (tmp_path / "cache/models").mkdir(parents=True)
    (tmp_path / "cache/models" / kept.name).symlink_to(kept)
    return tmp_path / "cache"


def _run(cache, tmp_path):
    told = {"sizes": Sizes(8, 3), "seed": 1, "accepts_gemma": False, "progress": lambda *_: None}
    return report(cache, KB, None, tmp_path / "told", **told)


@pytest.mark.slow
def test_the_report_measures_what_is_at_hand_and_says_what_is_not(cache, tmp_path):
    told = _run(cache, tmp_path)
    assert {"world_typed", "world_silent"} <= {section.name for section in told.sections}
    assert told.sections[0].rows[0].way.model == "tiny-llama"
    assert {GEMMA_ABSENT, DATA_ABSENT} <= set(told.notes)
    markdown, picture = told.files
    assert all(f"## {section.heading}" in markdown.read_text() for section in told.sections)
    assert picture.read_text().startswith("<svg")
    figures = json.loads((tmp_path / ".out/evaluate-reasoner.json").read_text())
    assert figures["world_typed_reasoner_generated_n"] == 3
    assert figures["has_gemma"] is False
