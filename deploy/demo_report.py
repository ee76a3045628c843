"""The demo's figures, computed from the log: prompts, silences, latency, click rates before and after a swap."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from deploy.figures import Figure
from features.decisions import Decision, Outcome, OutcomeKind

REPLICATES = 2000


@dataclass(frozen=True, slots=True)
class ClickRates:
    """Clicks per prompt seen, by the first model and by those after it, with a 95 % interval of the difference."""

    before: float | None
    after: float | None
    low: float | None
    high: float | None
    n_before: int
    n_after: int


def silences(decisions: Sequence[Decision]) -> Counter[str]:
    """How often each reason kept the worker silent, holdouts included."""
    return Counter(decision.reason for decision in decisions if decision.decision != "show")


def click_rates(decisions: Sequence[Decision], outcomes: Sequence[Outcome], first: str, seed: int) -> ClickRates:
    """The click rate of seen prompts under the model `first` and under later ones; bootstrap clustered by user."""
    kinds: dict[str, set[OutcomeKind]] = {}
    for outcome in outcomes:
        kinds.setdefault(outcome.decision_id, set()).add(outcome.kind)
    seen = [d for d in decisions if OutcomeKind.SHOWN in kinds.get(d.decision_id, ())]
    clicked = np.array([OutcomeKind.CLICKED in kinds[d.decision_id] for d in seen], dtype=np.float64)
    is_after = np.array([d.versions.model != first for d in seen], dtype=bool)
    users = np.array([d.key for d in seen])
    n_after = int(is_after.sum())
    n_before = len(seen) - n_after
    before = float(clicked[~is_after].mean()) if n_before else None
    after = float(clicked[is_after].mean()) if n_after else None
    if before is None or after is None:
        return ClickRates(before, after, None, None, n_before, n_after)
    low, high = difference_interval(clicked, is_after, users, seed)
    return ClickRates(before, after, low, high, n_before, n_after)


def difference_interval(
    clicked: NDArray[np.float64], is_after: NDArray[np.bool_], users: NDArray[np.str_], seed: int
) -> tuple[float, float]:
    """The 95 % bootstrap interval of mean(after) - mean(before), whole users drawn with replacement."""
    _, cluster = np.unique(users, return_inverse=True)
    n = int(cluster.max()) + 1
    sides = (is_after, ~is_after)
    sums = [np.bincount(cluster[side], weights, n) for side in sides for weights in (clicked[side], None)]
    drawn = np.random.default_rng(seed).multinomial(n, np.full(n, 1 / n), size=REPLICATES)
    after, n_after, before, n_before = (drawn @ column for column in sums)
    held = (n_after > 0) & (n_before > 0)
    low, high = np.percentile(after[held] / n_after[held] - before[held] / n_before[held], [2.5, 97.5])
    return float(low), float(high)


def latencies(sent_s: Mapping[str, float], received_s: Mapping[str, float]) -> tuple[float | None, float | None]:
    """p50 and p99 in ms from posting a trigger event to receiving its decision, by event id on one clock."""
    spans_ms = [(received_s[event] - sent_s[event]) * 1000 for event in received_s if event in sent_s]
    if not spans_ms:
        return None, None
    p50, p99 = np.percentile(spans_ms, [50, 99])
    return float(p50), float(p99)


def from_log(decisions: Sequence[Decision], outcomes: Sequence[Outcome], first: str, seed: int) -> dict[str, Figure]:
    """The figures that the decision and outcome topics hold."""
    rates = click_rates(decisions, outcomes, first, seed)
    ranked = [d for d in decisions if d.candidates.intent_ids]
    served = list(dict.fromkeys(d.versions.model for d in ranked))
    kinds = Counter(outcome.kind for outcome in outcomes)
    fresh = sum(d.embedding.state == "fresh" for d in ranked)
    figures: dict[str, Figure] = {
        "prompts": sum(d.decision == "show" for d in decisions),
        "silent": sum(d.decision != "show" for d in decisions),
        **{f"silent_{reason}": n for reason, n in sorted(silences(decisions).items())},
        "outcomes": len(outcomes),
        **{f"outcomes_{kind.value}": n for kind, n in sorted(kinds.items())},
        "cache_hit_rate": fresh / len(ranked) if ranked else None,
        "models_swapped": max(len(served) - 1, 0),
        "ctr_before": rates.before,
        "ctr_before_n": rates.n_before,
        "ctr_after": rates.after,
        "ctr_after_n": rates.n_after,
        "ctr_gain_low": rates.low,
        "ctr_gain_high": rates.high,
        "ctr_is_simulated": True,
    }
    return figures
