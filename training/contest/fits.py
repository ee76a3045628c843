"""One fit of the comparison: an arm learns from a cell's first rounds and ranks the requests of the last one.

What is kept of a fit is what every figure is made from: for each tested request the AUC and the rank of the needed
intent among all eligible ones, and a few sums over what was really shown.
"""

from __future__ import annotations

import hashlib
import os
import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from training import calibrate, metrics
from training.baselines.arm import Settings
from training.contest.arms import BY_KEY, tuned
from training.contest.cell import Cell, CellName
from training.contest.code import version
from training.contest.queries import Encoded, Query, swapped, trial
from training.trial import Trial

F32 = NDArray[np.float32]
F64 = NDArray[np.float64]
COLD_SHARE = 0.2
CALIBRATION_SHARE = 0.1
"""The latest part of what precedes the test: no arm learns from it, all are calibrated there (2.6 d)."""


@dataclass(frozen=True, slots=True)
class Task:
    """Which arm in which cell with which seed; `is_cold` holds a fifth of the intents out of training."""

    cell: CellName
    arm: str
    seed: int
    is_cold: bool = False

    @property
    def file_name(self) -> str:
        """Where it is kept: another setting or another code is another file."""
        entry = BY_KEY[self.arm]
        told = (version(), tuned().get(entry.like or entry.key, {}))
        digest = hashlib.sha256(repr(told).encode()).hexdigest()[:8]
        return f"{self.cell}-{self.arm}{'-cold' * self.is_cold}-{self.seed}-{digest}.npz"


def fitted(task: Task, cell: Cell, encoded: Encoded, folder: Path) -> dict[str, F64]:
    """The fit's figures, from `folder` or made and kept there."""
    path = folder / task.file_name
    if not path.exists():
        folder.mkdir(parents=True, exist_ok=True)
        hidden = path.with_name(f".{os.getpid()}-{path.name}")
        np.savez(hidden, **run(task, cell, encoded))  # type: ignore[arg-type]
        hidden.replace(path)
    return kept(task, folder)


def kept(task: Task, folder: Path) -> dict[str, F64]:
    """The figures of a fit that was made."""
    return dict(np.load(folder / task.file_name))


def run(task: Task, cell: Cell, encoded: Encoded, settings: Settings | None = None) -> dict[str, F64]:
    """Fits and measures; see `measured` for what comes back."""
    entry = BY_KEY[task.arm]
    whole = trial(cell, encoded, entry.query, task.seed)
    cold = cold_intents(len(whole.known), task.cell.seed) if task.is_cold else np.zeros(len(whole.known), np.bool_)
    whole = replace(whole, known=~cold)
    cut = round((1 - CALIBRATION_SHARE) * cell.test_from)
    train, late, test = (
        whole.take(np.arange(*span)) for span in ((0, cut), (cut, cell.test_from), (cell.test_from, len(whole)))
    )
    arm, curve = entry.arm(settings), list[list[float]]()
    began = time.perf_counter()
    arm.fit(
        train.without(cold) if task.is_cold else train,
        task.seed,
        lambda _, told: curve.append([told["loss"], told["recall_at_3"]]),
    )
    fit_s = time.perf_counter() - began
    began = time.perf_counter()
    scores = arm.scores(test)
    score_s = time.perf_counter() - began
    need, eligible = cell.need[cell.test_from :], test.dataset.eligible
    told = measured(scores, eligible, need)
    if entry.query is Query.OWN:
        source = swapped(test, 0, np.random.default_rng([task.seed, 6]))
        other = arm.scores(replace(test, query=test.query[source]))
        told["swapped_auc"] = measured(other, eligible, need)["auc"]
    told |= _of_shown(late, arm.scores(late), test, scores)
    told["train_clicks"] = np.array(float(train.dataset.clicks.sum()))
    told["curve"] = np.array(curve).reshape(-1, 2)
    return told | {"fit_s": np.array(fit_s), "score_s": np.array(score_s / max(len(test), 1))}


def measured(scores: F32, eligible: NDArray[np.bool_], need: NDArray[np.int64]) -> dict[str, F64]:
    """Of every request in `need` (i64[B], -1 = none): `auc` and `rank` of the needed intent among the eligible.

    `rows` are the requests' places among all that were tested.
    """
    rows = np.flatnonzero(need >= 0)
    eligible, s = eligible[rows], scores[rows].astype(np.float64)
    own = s[np.arange(len(rows)), need[rows]][:, None]
    above, ties = (eligible & (s > own)).sum(axis=1), (eligible & (s == own)).sum(axis=1) - 1
    others = np.maximum(eligible.sum(axis=1) - 1, 1)
    rank = metrics.ranks(s, eligible)[np.arange(len(rows)), need[rows]]
    return {"auc": 1 - (above + 0.5 * ties) / others, "rank": rank.astype(np.float64), "rows": rows.astype(np.float64)}


def _of_shown(late: Trial, told_late: F32, test: Trial, scores: F32) -> dict[str, F64]:
    """GAUC of the clicks on what was shown, by user and by request; logloss and ECE, calibrated on the later slice."""
    known = late.dataset
    fitted, lower = calibrate.fit_by_position(told_late, known.exposed, known.positions, known.clicks)
    d = test.dataset
    rows, slots = np.nonzero(d.seen)
    shown, clicks = scores[rows, d.exposed[rows, slots]], d.clicks[rows, slots]
    offsets = np.pad(lower, (0, 20), mode="edge")[d.positions[rows, slots]]
    p = 1 / (1 + np.exp(-np.clip(fitted.a * shown + fitted.b + offsets, -30, 30)))
    users = np.array(d.user)[rows]
    told: Mapping[str, float] = {
        "shown_gauc_user": metrics.gauc(clicks, shown, users).value,
        "shown_gauc_request": metrics.gauc(clicks, shown, rows).value,
        "logloss": metrics.logloss(clicks, p),
        "ece": metrics.ece(clicks, p),
    }
    return {name: np.array(value) for name, value in told.items()} | {"reliability": _reliability(clicks, p)}


def _reliability(clicks: F32, p: F64, bins: int = 10) -> F64:
    """(mean probability, share of clicks, prompts) of bins of equal mass, f64[bins, 3]."""
    parts = [part for part in np.array_split(np.argsort(p, kind="stable"), bins) if len(part)]
    return np.array([[p[part].mean(), clicks[part].mean(), len(part)] for part in parts])


def cold_intents(intents: int, seed: int) -> NDArray[np.bool_]:
    """Which intents nobody has met before the test, bool[N]."""
    cold = np.zeros(intents, np.bool_)
    cold[np.random.default_rng([seed, 7]).permutation(intents)[: round(COLD_SHARE * intents)]] = True
    return cold
