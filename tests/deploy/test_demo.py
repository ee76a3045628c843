"""The whole loop, run as a newcomer runs it, with a part of it killed on the way."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

PROMISED = {
    "events_in", "applied", "late", "duplicate", "dead_lettered", "replayed", "acked_not_in_log", "prompts", "silent",
    "outcomes", "p50_ms", "p99_ms", "cache_hit_rate", "models_swapped", "swap_errors", "judge_verdict", "ctr_before",
    "ctr_after", "ctr_gain_low", "ctr_gain_high", "seconds_to_first_prompt",
}  # fmt: skip


@pytest.fixture(scope="module", params=["worker", "broker"])
def demo(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """The figures of a short demo in which the named part was killed with -9."""
    folder = tmp_path_factory.mktemp("demo")
    done = subprocess.run(
        [
            sys.executable,
            "-m",
            "deploy.cli",
            "demo",
            "--seconds",
            "20",
            "--rate",
            "30",
            "--port",
            "0",
            "--kill",
            request.param,
        ],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])},
        capture_output=True,
        text=True,
        timeout=280,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-2000:] + done.stdout[-4000:]
    figures: dict[str, Any] = json.loads((folder / ".out" / "demo.json").read_text())
    return figures


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_a_kill_loses_and_doubles_nothing_and_the_loop_goes_on(demo: dict[str, Any]):
    assert demo.keys() >= PROMISED
    assert demo["events_in"] == demo["applied"] + demo["late"] + demo["duplicate"] + demo["dead_lettered"] > 0
    assert demo["acked_not_in_log"] == 0
    assert demo["swap_errors"] == 0
    assert demo["prompts"] > 0
    assert demo["outcomes"] > 0
    assert demo["judge_verdict"] in {"promote", "reject", "insufficient evidence"}
