"""Figures are flat, versioned and written whole."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from deploy import figures


def test_figures_are_written_flat_with_versions(tmp_path: Path):
    written = json.loads(figures.write("demo", {"prompts": 3, "p50_ms": 1.5, "ctr_before": None}, tmp_path).read_text())
    assert written["prompts"] == 3
    assert written["ctr_before"] is None
    assert written["version_python"].startswith("3.")


def test_a_nested_figure_is_refused_by_name(tmp_path: Path):
    with pytest.raises(TypeError, match="silences"):
        figures.write("demo", {"silences": {"below_floor": 1}}, tmp_path)  # type: ignore[dict-item]


def test_nan_never_reaches_the_file(tmp_path: Path):
    with pytest.raises(ValueError, match="JSON"):
        figures.write("demo", {"p50_ms": float("nan")}, tmp_path)
    assert not (tmp_path / "demo.json").exists()
