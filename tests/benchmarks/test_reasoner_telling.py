"""The reasoner's result, told of findings whose ratios are known."""

from __future__ import annotations

import json

import numpy as np
import pytest
from rich.console import Console

from tests.benchmarks.event_path import SIDES, Timed
from tests.benchmarks.meter import Block
from tests.benchmarks.ndcg_kept import Kept
from tests.benchmarks.reasoner_findings import Refreshed, Speed
from tests.benchmarks.reasoner_telling import Circumstances, tell
from tests.benchmarks.refreshing import Spent
from tests.benchmarks.rounds import Measured

ASKED = {
    "cpu_vs_sentence_transformers", "gpu_vs_sentence_transformers", "flop_roofline", "tokens_vs_every_event",
    "tokens_vs_every_event_flipping", "ndcg_kept", "event_p99_on_over_off", "cache_hit_rate", "a_a_low", "a_a_high",
}  # fmt: skip


def race(**walls_s):
    """Eight blocks of 1,000 tokens for each variant, each taking so long."""
    blocks = {name: [Block(name, 1000, wall_s, wall_s, 0.0, 0.0)] * 8 for name, wall_s in walls_s.items()}
    return Speed("cpu", Measured(blocks), 16, {}, {name.partition("/")[0]: "torch fp32 cpu" for name in blocks})


def world(name, kept):
    spent = Spent(events=100, tokens=5, tokens_every_event=100, first_ms=1, last_ms=1001)
    spent.queries.update({"fresh": 3, "stale": 1})
    one = np.ones(10)
    return Refreshed(name, spent, Kept(kept * one, one, one, 0.5 * one, 0.04, np.arange(10)), 10.0, 400.0)


def timed(on_ms):
    blocks = {side: [np.full(50, on_ms if side == "on" else 2.0)] * 6 for side in SIDES}
    return Timed(latencies_ms=blocks, embedder_cores=0.4, embedder_cores_race=0.4, events_per_s=100.0)


@pytest.fixture
def told(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    cpu = race(**{"st_fp32/8": 4.0, "st_fp32/32": 3.0, "torch_fp32/all": 1.5, "torch_fp32/all again": 1.5})
    worlds = {"declared": world("declared", 0.99), "flipping": world("flipping", 0.9)}
    shown = Console(record=True, width=200)
    tell({"cpu": cpu}, worlds, timed(3.0), Circumstances(seed=1, is_quick=True, flop_roofline=None, began_s=0.0), shown)
    return json.loads((tmp_path / ".out" / "bench-reasoner.json").read_text()), shown.export_text()


def test_every_key_that_is_asked_for_is_told_and_null_without_a_gpu(told):
    found, _ = told
    assert found.keys() >= ASKED
    assert found["gpu_vs_sentence_transformers"] is found["flop_roofline"] is None


def test_we_are_told_against_the_peers_best_batch_size(told):
    found, _ = told
    assert found["cpu_vs_sentence_transformers"] == 2.0


def test_worlds_and_the_event_path_are_told_as_found(told):
    found, _ = told
    assert found["tokens_vs_every_event"] == found["tokens_vs_every_event_flipping"] == 0.05
    assert (found["ndcg_kept"], found["ndcg_kept_flipping"]) == (pytest.approx(0.99), pytest.approx(0.9))
    assert (found["cache_hit_rate"], found["event_p99_on_over_off"]) == (0.75, 1.5)


def test_few_decisions_and_what_did_not_run_are_said(told):
    _, text = told
    assert "only 300 decisions a side" in text
    assert "did not run" in text
    assert "SIMULATED" in text
