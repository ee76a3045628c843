"""Rows 1-4 and 6: workers killed, ended at every failpoint, frozen and taken over, paused, joining and leaving."""

from __future__ import annotations

import json
import random
from operator import ne

from tests.faults.arena import PARTITIONS, SESSION_S, Finding, Trial
from tests.faults.log_side import uncommitted
from tests.faults.traffic import Mix
from tests.faults.worker import FAILPOINTS

POINT_DEADLINE_S = 40.0
COMMIT_DEADLINE_S = 15.0


def kill_at_random(trial: Trial) -> Finding:
    """Kill -9 the only worker, again and again, U(0.05, 3) s after it took its partitions."""
    draw = random.Random(trial.seed)
    trial.worker("w", RGALIGN_SESSION_TIMEOUT_S="2")
    trial.send(Mix(duplicates=0.02, poison=0.01))
    for _ in range(trial.pace.kills):
        trial.crew.wait(draw.uniform(0.05, 3.0))
        trial.crew.kill("w", then_start=True)
        trial.crew.wait_ready("w")
    found = trial.settle()
    found.facts["kills"] = trial.pace.kills
    found.checks["no worker ended by itself"] = not trial.crew.ends()
    return found


def kill_at_every_failpoint(trial: Trial) -> Finding:
    """End the process before and after each of its effects, at a pass drawn by the seed."""
    draw = random.Random(trial.seed)
    trial.worker("w", RGALIGN_SESSION_TIMEOUT_S="2")
    trial.send(Mix(rate_per_s=200, duplicates=0.02, poison=0.05))
    missed = []
    for point in FAILPOINTS:
        ended = len(trial.crew.ends())
        trial.crew.kill("w")
        nth = 1 if "claim" in point else draw.randint(1, 3)
        spoil = json.dumps({"point": point, "pass": nth})
        trial.crew.start("w", wait=False, FAULTS_SPOIL=spoil, RGALIGN_SESSION_TIMEOUT_S="2")
        try:
            trial.crew.until(lambda n=ended: len(trial.crew.ends()) > n, POINT_DEADLINE_S, point)
            trial.crew.wait_ready("w")
        except TimeoutError:
            missed.append(point)
    found = trial.settle()
    found.facts |= {"failpoints": len(FAILPOINTS), "missed": " ".join(missed)}
    found.checks["every failpoint was reached"] = not missed
    return found


def zombie(trial: Trial) -> Finding:
    """A worker frozen before its commit for longer than the session timeout wakes up after a peer took over."""
    spoil = {**json.loads(trial.spoil or "{}"), "point": "before_commit", "pass": 40, "act": "stop"}
    trial.crew.start("a", FAULTS_SPOIL=json.dumps(spoil))
    trial.worker("b")
    trial.crew.wait_ready("a")
    before = trial.epochs()
    trial.send()
    trial.crew.until(lambda: trial.crew.is_paused("a"), 60, "the worker does not reach its failpoint")
    trial.crew.until(lambda: all(map(ne, before, trial.epochs())), 60, "nobody takes over")
    trial.crew.wait(2)
    trial.crew.resume("a")
    trial.crew.wait(2)
    for _ in range(trial.pace.takeovers):
        trial.crew.pause("a")
        before = trial.epochs()
        trial.crew.until(lambda b=before: b != trial.epochs(), 60, "nobody takes over")
        trial.crew.resume("a")
        trial.crew.wait(3)
        trial.crew.wait_ready("a")
    found = trial.settle()
    found.checks["a stale write was refused"] = found.facts.get("fenced", 0) >= 1
    return found


def short_pauses(trial: Trial) -> Finding:
    """SIGSTOP for 0.1-5 s, below the session timeout of 10 s."""
    draw = random.Random(trial.seed)
    trial.worker("a", RGALIGN_SESSION_TIMEOUT_S="10")
    trial.worker("b", RGALIGN_SESSION_TIMEOUT_S="10")
    trial.send()
    before = trial.epochs()
    for _ in range(trial.pace.pauses):
        name = draw.choice("ab")
        trial.crew.pause(name)
        trial.crew.wait(draw.uniform(0.1, 5.0))
        trial.crew.resume(name)
        trial.crew.wait(1)
    unmoved = before == trial.epochs()
    found = trial.settle()
    found.checks["no rebalance"] = unmoved
    return found


def rebalance_storm(trial: Trial) -> Finding:
    """Two workers join and leave every 3 s beside one that stays; afterwards offsets are committed to the end."""
    draw = random.Random(trial.seed)
    trial.worker("stays")
    trial.send(Mix(duplicates=0.02))
    present: set[str] = set()
    for _ in range(round(trial.pace.storm_s / 3)):
        name = draw.choice(["x", "y"])
        if name in present:
            trial.crew.stop(name)
        else:
            trial.crew.start(name, wait=False)
        present ^= {name}
        trial.crew.wait(3)
    backlog = trial.backlog()
    for name in present:
        trial.crew.stop(name)
    trial.crew.wait(SESSION_S)
    found = trial.settle()
    found.facts |= {"backlog": backlog, "uncommitted": left_uncommitted(trial)}
    found.checks["commits advance to the end"] = found.facts["uncommitted"] == 0
    return found


def left_uncommitted(trial: Trial) -> int:
    """Records beyond the committed offsets, once the workers had time to commit."""

    def is_all() -> bool:
        return uncommitted(trial.connections, PARTITIONS) == 0

    try:
        trial.crew.until(is_all, COMMIT_DEADLINE_S, "offsets are not committed")
    except TimeoutError:
        return uncommitted(trial.connections, PARTITIONS)
    return 0
