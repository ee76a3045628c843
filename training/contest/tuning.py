"""Equal trials for every arm: each setting of its grid, fitted in one tuning world, judged by clicks a shop has too.

The last fifth of what precedes the test is held out; a setting is as good as the AUC of its clicked intents among all
that were eligible. The test itself and the untouched worlds are never looked at.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from training.contest.arms import ENTRIES, TRIALS, TUNED, Entry
from training.contest.cell import Cell, CellName
from training.contest.fits import measured
from training.contest.queries import Encoded, trial
from training.dials import TUNING_SEEDS
from training.trainer import Progress

CELL = CellName(TUNING_SEEDS[1], 0.6, users=600, rounds=4)
"""Another tuning world than the table's first, at a middling share."""
SEED = 1
_HELD_OUT = 0.2


def tune(cell: Cell, encoded: Encoded, kept: Path, progress: Progress | None = None) -> dict[str, Any]:
    """The best setting of every arm and what each trial gave; `kept` remembers trials for a run that was stopped."""
    trials: dict[str, list[float]] = yaml.safe_load(kept.read_text()) if kept.exists() else {}
    waiting = [entry for entry in ENTRIES if len(entry.grid) > 1]
    for entry in waiting:
        told = trials.setdefault(entry.key, [])
        for settings in entry.grid[len(told) :]:
            told.append(_judged(entry, settings, cell, encoded))
            _write(kept, trials)
            if progress is not None:
                progress("tune the arms", sum(map(len, trials.values())), TRIALS * len(waiting))
    best = {entry.key: dict(entry.grid[int(np.argmax(trials[entry.key]))]) for entry in waiting}
    return {"world": str(CELL), "seed": SEED, "settings": best, "trials": trials}


def commit(told: Mapping[str, Any], path: Path = TUNED) -> None:
    """Writes the settings where every later run reads them."""
    _write(path, told)


def _judged(entry: Entry, settings: Mapping[str, float], cell: Cell, encoded: Encoded) -> float:
    whole = trial(cell, encoded, entry.query, SEED)
    border = round((1 - _HELD_OUT) * cell.test_from)
    train, held_out = whole.take(np.arange(border)), whole.take(np.arange(border, cell.test_from))
    arm = entry.arm(settings)
    arm.fit(train, SEED)
    dataset = held_out.dataset
    slot = dataset.clicks.argmax(axis=1)
    clicked = np.where(dataset.has_click, dataset.exposed[np.arange(len(dataset)), slot], -1)
    return round(float(measured(arm.scores(held_out), dataset.eligible, clicked)["auc"].mean()), 6)


def _write(path: Path, told: Mapping[str, Any]) -> None:
    hidden = path.with_name(f".{path.name}.{os.getpid()}")
    path.parent.mkdir(parents=True, exist_ok=True)
    hidden.write_text(yaml.safe_dump(dict(told), sort_keys=False))
    hidden.replace(path)
