"""Row 23: the log replayed from its first offset, twice, in any order, by one process and by two: the same bytes."""

from __future__ import annotations

import random
import shutil
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

from tests.faults.arena import PARTITIONS, Finding, Trial
from tests.faults.crew import ROOT
from tests.faults.traffic import Mix
from training import replay as road
from training.rebuild import log_digest

REPLAY_DEADLINE_S = 240
SOURCE = "shop.user.events.v1"


def replayed(trial: Trial) -> Finding:
    """Two workers fold the log, one of them dies; the command line replays it, and folds the states that are live."""
    trial.worker("a")
    trial.worker("b")
    trial.send(Mix(duplicates=0.1, shifted=0.2, poison=0.02))
    trial.crew.kill("b")
    trial.crew.wait(trial.pace.steady_s)
    found = trial.settle()
    draw, ends = random.Random(trial.seed), trial.ends()
    spans = [f"--offsets={SOURCE}[{number}]=0:{ends[number]}" for number in draw.sample(range(PARTITIONS), PARTITIONS)]
    runs = {
        "one": _replay(trial, "one", "--workers=1"),
        "again": _replay(trial, "again", "--workers=1"),
        "two": _replay(trial, "two", "--workers=2"),
        "shuffled": _replay(trial, "shuffled", "--workers=2", *spans),
    }
    states = {name: log_digest(road.manifest(folder).folded) for name, folder in runs.items()}
    files = {name: road.digest(runs[name]) for name in ("one", "again", "two")}
    found.facts |= {"training_set": files["one"][:12], "states": states["one"][:12]}
    found.checks |= {
        "I4 training set the same bytes": len(set(files.values())) == 1,
        "I4 events the same bytes in any order": road.digest(runs["shuffled"] / "events")
        == road.digest(runs["one"] / "events"),
        "states the same from every replay": len(set(states.values())) == 1,
        "states as the live ones": states["one"] == trial.live_digest(),
    }
    for folder in runs.values():
        shutil.rmtree(folder)
    return found


def _replay(trial: Trial, name: str, *options: str) -> Path:
    out = Path(trial.connections.registry) / name
    argv = (sys.executable, "-m", "deploy.cli", "replay", str(out), "--features", *options)
    env: Mapping[str, str] = trial.crew.env
    done = subprocess.run(
        argv, cwd=ROOT, env=env, capture_output=True, text=True, timeout=REPLAY_DEADLINE_S, check=False
    )
    if done.returncode != 0:
        raise RuntimeError(f"`rgalign replay` ended with {done.returncode}: {(done.stdout + done.stderr)[-800:]}")
    return out
