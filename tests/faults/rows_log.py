"""Rows 13-16: what the log may hold - repeats, any order and date, poison - and a clock that lies beside it."""

from __future__ import annotations

import json
import random

from tests.faults.arena import Finding, Trial
from tests.faults.traffic import Mix, event

JUMPS_S = [[3.0, 3600.0], [8.0, -7200.0], [13.0, 3600.0]]
BEYOND_WINDOW = 300


def duplicates(trial: Trial) -> Finding:
    """1-30 % repeats, also across a kill and beyond the declared window: applied once within it, counted outside."""
    draw = random.Random(trial.seed)
    trial.worker("w")
    share = draw.uniform(0.01, 0.3)
    traffic = trial.send(Mix(duplicates=share))
    first = [event(draw, f"far{trial.seed}-{n}", "far") for n in range(BEYOND_WINDOW)]
    for record in first:
        traffic.send(record)
    trial.crew.kill("w", then_start=True)
    trial.crew.wait_ready("w")
    for record in (*first[-10:], *first[:10]):
        traffic.send(record)
    trial.crew.wait(trial.pace.steady_s / 2)
    found = trial.settle()
    found.facts["share"] = round(share, 2)
    found.checks |= {
        "repeats were counted": found.facts.get("duplicate", 0) > 10,
        "repeats beyond the window were counted": found.facts.get("applied_again") == 10,
    }
    return found


def any_order(trial: Trial) -> Finding:
    """Events out of order, up to hours late or early, and dated 1970 and 2100."""
    trial.worker("w")
    trial.send(Mix(shifted=0.4))
    trial.crew.kill("w", then_start=True)
    trial.crew.wait(trial.pace.steady_s / 2)
    found = trial.settle()
    found.checks["late events were counted"] = found.facts.get("late", 0) > 10
    return found


def clock_jumps(trial: Trial) -> Finding:
    """One of two workers has a clock that jumps an hour ahead, then an hour back: states know event time alone."""
    trial.crew.start("a", FAULTS_SPOIL=json.dumps({"clock_jumps_s": JUMPS_S}))
    trial.worker("b")
    trial.send(Mix(shifted=0.2, duplicates=0.02))
    trial.crew.wait(min(trial.pace.steady_s, JUMPS_S[-1][0]))
    return trial.settle()


def poison(trial: Trial) -> Finding:
    """Records that no one can read, every fifth: all set aside with their bytes, none stops the stream."""
    trial.worker("w")
    trial.send(Mix(rate_per_s=200, poison=0.2))
    trial.crew.wait(trial.pace.steady_s / 2)
    found = trial.settle()
    found.checks |= {
        "poison was sent": found.facts.get("dead_lettered", 0) > 50,
        "no worker ended": not trial.crew.ends(),
    }
    return found
