"""The answers of the comparison as flat keys: what QE-Rec gains, where it must not gain, and how far the oracle is."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from training.contest.cell import CellName
from training.contest.figures import METRICS, Results, interval
from training.contest.fits import cold_intents
from training.contest.plan import HIGH, LOW, Plan
from training.dials import SHARES, UNTOUCHED_SEEDS
from training.metrics import Interval

Answers = dict[str, float | int | None]


def answers(results: Results, plan: Plan) -> Answers:
    """The keys that the results are judged by; None where fits are missing.

    Differences are those at the highest semantic share over all worlds, tuning and untouched; the same at every share
    and for both kinds of worlds stand in keys of their own.
    """
    worlds = (*plan.worlds, *UNTOUCHED_SEEDS)
    high, low = (_cells(results, plan, worlds, share) for share in (HIGH, LOW))
    told: Answers = {"seeds": len(plan.seeds), "worlds": len(worlds), "fits": len(results.fits)}
    told |= _minus(results, high, "two_tower", "gauc") | _minus(results, high, "two_tower", "recall3")
    told |= _minus(results, high, "lightgbm_cosine", "gauc") | _minus(results, high, "lightgbm_cosine", "recall3")
    ours = [cell for cell in high if results.has([cell], "qerec")]
    gain, none = (_difference(results, cells, "qerec", "qerec_null") for cells in (high, low))
    told |= {
        "semantic_gain_gauc": gain and gain.mean,
        "semantic_gain_low": gain and gain.low,
        "zero_semantics_gain_gauc": none and none.mean,
        "zero_semantics_gain_high": none and none.high,
        "placebo_gain_high": _placebo(results, plan),
        "bayes_gauc": _oracle(results, high, "bayes"),
        "blind_bayes_gauc": _oracle(results, high, "blind"),
        "qerec_gauc": results.mean(ours, "qerec", "gauc").mean if ours else None,
        "swap_cost_gauc_low": results.swap(ours, "qerec").low if ours else None,
    }
    return told | _everywhere(results, plan) | cold(results, plan)


def _minus(results: Results, cells: Sequence[CellName], other: str, metric: str) -> Answers:
    found = _difference(results, cells, "qerec", other, metric)
    name = f"qerec_minus_{other}_{metric}"
    return {name: found and found.mean, f"{name}_low": found and found.low, f"{name}_high": found and found.high}


def _everywhere(results: Results, plan: Plan) -> Answers:
    told: Answers = {}
    for kind, worlds in (("tuning", plan.worlds), ("untouched", UNTOUCHED_SEEDS)):
        for share in SHARES:
            cells = _cells(results, plan, worlds, share)
            for other in ("two_tower", "lightgbm_cosine"):
                for metric in ("gauc", "recall3"):
                    found = _difference(results, cells, "qerec", other, metric)
                    name = f"{kind}_{share:g}_qerec_minus_{other}_{metric}"
                    told |= {name: found and found.mean, f"{name}_low": found and found.low}
    return told


def _cells(results: Results, plan: Plan, worlds: Sequence[int], share: float) -> list[CellName]:
    """The cells of these worlds at a share that have been lived through."""
    return [cell for world in worlds if (cell := plan.cell(world, share)) in results.tests]


def _difference(
    results: Results, cells: Sequence[CellName], arm: str, other: str, metric: str = "gauc"
) -> Interval | None:
    """Over the cells in which both have fits; None without any."""
    both = [cell for cell in cells if results.has([cell], arm, other)]
    return results.difference(both, arm, other, metric) if both else None


def _placebo(results: Results, plan: Plan) -> float | None:
    """The highest upper bound of any placebo's gain over no queries, at either end of the shares."""
    found = [
        _difference(results, _cells(results, plan, (*plan.worlds, *UNTOUCHED_SEEDS), share), arm, "qerec_null")
        for share in (LOW, HIGH)
        for arm in plan.placebos
    ]
    return max(one.high for one in found if one is not None) if all(found) else None


def _oracle(results: Results, cells: Sequence[CellName], which: str) -> float | None:
    if not cells:
        return None
    parts = [METRICS["gauc"](getattr(results.tests[cell], which))[None] for cell in cells]
    return interval(parts, [results.tests[cell].user for cell in cells], replicates=1).mean


def cold(results: Results, plan: Plan) -> Answers:
    """Recall@3 of requests whose need nobody had met in training, ranked among all that is eligible."""
    cells = _cells(results, plan, plan.worlds, HIGH)
    cells = [cell for cell in cells if results.has([cell], "qerec", "zero_shot", "lightgbm_cosine", is_cold=True)]
    if not cells:
        return dict.fromkeys(("cold_recall3", "cold_recall3_random", "cold_recall3_cosine"))
    wanted = [cold_intents(int(results.tests[c].clicks.size), c.seed)[results.tests[c].need] for c in cells]
    users = [results.tests[c].user[rows] for c, rows in zip(cells, wanted, strict=True)]
    ours, cosine, trees = (
        [results.values(c, arm, "recall3", is_cold=True)[:, rows] for c, rows in zip(cells, wanted, strict=True)]
        for arm in ("qerec", "zero_shot", "lightgbm_cosine")
    )
    chance = [np.minimum(3 / results.tests[c].eligible[rows], 1.0)[None] for c, rows in zip(cells, wanted, strict=True)]
    over_random, over_cosine, over_trees = (
        interval([mine - theirs for mine, theirs in zip(ours, others, strict=True)], users)
        for others in (chance, cosine, trees)
    )
    return {
        "cold_requests": int(sum(rows.sum() for rows in wanted)),
        "cold_recall3": interval(ours, users).mean,
        "cold_recall3_random": interval(chance, users).mean,
        "cold_recall3_cosine": interval(cosine, users).mean,
        "cold_recall3_lightgbm_cosine": interval(trees, users).mean,
        "cold_minus_random_low": over_random.low,
        "cold_minus_cosine": over_cosine.mean,
        "cold_minus_cosine_low": over_cosine.low,
        "cold_minus_cosine_high": over_cosine.high,
        "cold_minus_lightgbm_cosine_low": over_trees.low,
    }
