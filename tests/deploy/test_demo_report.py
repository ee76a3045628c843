"""The demo's figures follow from the log alone, and an interval says when nothing was gained."""

from __future__ import annotations

from datetime import UTC, datetime

import numpy as np
import pytest

from deploy.demo_report import click_rates, difference_interval, from_log, latencies
from features.decisions import Candidates, Decision, FeatureRow, Outcome, OutcomeKind, QueryEmbedding, Versions

NOW = datetime(2026, 1, 1, tzinfo=UTC)


def _decision(number: int, model: str = "v1", **changed: object) -> Decision:
    told: dict[str, object] = {
        "decision_id": f"d{number}", "tenant": "demo", "user": f"u{number % 50}", "session": "s1", "decision": "show",
        "reason": "ranked", "time": NOW, "made_at": NOW, "slate_propensity": 0.5,
        "candidates": Candidates(intent_ids=["a"], scores=[0.0]),
        "features": FeatureRow(numeric={}, categorical={}, event_kinds=[], event_ages_s=[]),
        "versions": Versions(model=model, kb="k", features="f", policy="p"),
        "embedding": QueryEmbedding(state="fresh", space_id="s", state_hash="h"),
        "trigger_event": f"e{number}", "trigger_type": "chat_opened", "trigger_offset": "t[0]@1", "latency_ms": 1.0,
    }  # fmt: skip
    return Decision.model_validate(told | changed)


def _outcome(number: int, kind: OutcomeKind) -> Outcome:
    intent = "a" if kind is OutcomeKind.CLICKED else None
    return Outcome(
        id=f"{number}-{kind}", decision_id=f"d{number}", kind=kind, time=NOW, user=f"u{number % 50}", intent_id=intent
    )


def test_an_unseen_prompt_counts_in_no_click_rate():
    rates = click_rates([_decision(1), _decision(2)], [_outcome(1, OutcomeKind.SHOWN)], first="v1", seed=0)
    assert (rates.before, rates.n_before, rates.n_after) == (0.0, 1, 0)


def test_clicks_are_parted_by_the_model_that_was_serving():
    decisions = [_decision(1), _decision(2), _decision(3, model="v2"), _decision(4, model="v2")]
    outcomes = [_outcome(n, OutcomeKind.SHOWN) for n in range(1, 5)] + [_outcome(3, OutcomeKind.CLICKED)]
    rates = click_rates(decisions, outcomes, first="v1", seed=0)
    assert (rates.before, rates.after) == (0.0, 0.5)


@pytest.mark.parametrize("seed", range(5))
def test_equal_models_have_an_interval_around_zero(seed: int):
    rng = np.random.default_rng(seed)
    clicked = (rng.random(2000) < 0.2).astype(np.float64)
    users = rng.integers(0, 200, 2000).astype(str)
    low, high = difference_interval(clicked, np.arange(2000) > 1000, users, seed)
    assert low < 0.03
    assert high > -0.03
    assert high - low < 0.12


def test_a_better_model_has_an_interval_above_zero():
    rng = np.random.default_rng(0)
    is_after = np.arange(2000) >= 1000
    clicked = (rng.random(2000) < np.where(is_after, 0.4, 0.2)).astype(np.float64)
    low, _ = difference_interval(clicked, is_after, rng.integers(0, 200, 2000).astype(str), seed=0)
    assert low > 0.1


def test_silences_are_counted_by_reason():
    silent = _decision(2, decision="silent", reason="below_floor")
    figures = from_log([_decision(1), silent], [], first="v1", seed=0)
    assert (figures["prompts"], figures["silent"], figures["silent_below_floor"]) == (1, 1, 1)


def test_latency_is_from_the_post_to_the_decision():
    assert latencies({"e1": 1.0, "e2": 1.0}, {"e1": 1.25, "other": 9.0}) == (250.0, 250.0)
