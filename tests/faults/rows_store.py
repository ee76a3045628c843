"""Rows 8-12: the store down, flushed, crashed with a part of its file, slow or silent, and full."""

from __future__ import annotations

import random
import time

from tests.faults.arena import PARTITIONS, Finding, Trial
from tests.faults.proxy import Proxy
from tests.faults.traffic import Mix

DOWN_S = 8.0
MAX_CUT_BYTES = 200_000


def store_down(trial: Trial) -> Finding:
    """The store ends in order, stays away and comes back: the worker waits, and neither spins nor ends."""
    trial.worker("w")
    trial.send()
    services = trial.arena.services
    services.supervisor.stop("redis")
    began_s, cpu_s = time.monotonic(), trial.crew.cpu_s("w")
    trial.crew.wait(DOWN_S)
    cpu = (trial.crew.cpu_s("w") - cpu_s) / (time.monotonic() - began_s)
    services.revive("redis")
    recovered_s = trial.drained_s()
    found = trial.settle()
    found.facts |= {"cpu_while_away": f"{cpu:.2f} (<= 0.20)", "recovered_s": f"{recovered_s:.1f} (<= 5)"}
    found.checks["no worker ended"] = not trial.crew.ends()
    return found


def store_flushed(trial: Trial) -> Finding:
    """FLUSHALL under load: the ledger is noticed to be gone and folded again from the log."""
    trial.worker("a")
    trial.worker("b")
    trial.send(Mix(duplicates=0.02))
    with trial.arena.redis as redis:
        redis.flushall()
    before = trial.backlog()
    trial.crew.wait(2)
    found = trial.settle()
    found.facts |= {"to_fold_again": before, "restarts": len(trial.crew.ends())}
    may_decide_again(found)
    found.checks["the loss was noticed"] = trial.crew.said("StoreLost") > 0
    return found


def store_crashed(trial: Trial) -> Finding:
    """Kill -9 with an append-only file, its end cut off as by a power loss: the log is read again from there."""
    draw = random.Random(trial.seed)
    trial.worker("w")
    trial.send()
    went_back = 0
    for _ in range(3):
        before = trial.applied()
        trial.arena.services.cut("redis")
        _cut_end(trial, draw.randint(1, MAX_CUT_BYTES))
        trial.arena.services.revive("redis")
        went_back += sum(max(old - new, 0) for old, new in zip(before, trial.applied(), strict=True))
        trial.crew.wait(4)
    found = trial.settle()
    found.facts |= {"records_forgotten": went_back, "restarts": len(trial.crew.ends())}
    may_decide_again(found)
    found.checks["the store went back in time"] = went_back > 0
    return found


def may_decide_again(found: Finding) -> None:
    """A trigger whose effects the store forgot is decided again, under the same id: that is how it is meant to be."""
    found.checks.pop("no decision twice")


def _cut_end(trial: Trial, size: int) -> None:
    files = sorted((trial.arena.redis_home / "appendonlydir").glob("*.incr.aof"))
    with files[-1].open("r+b") as file:
        file.truncate(max(files[-1].stat().st_size - size, 0))


def store_slow(trial: Trial) -> Finding:
    """Answers held back by 100 ms, a store that pauses for 3 s, and commits whose answer never comes."""
    with Proxy(trial.arena.redis_port) as proxy, trial.arena.redis as redis:
        trial.worker("w", REDIS_URL=f"redis://127.0.0.1:{proxy.port}/0")
        trial.send()
        proxy.delay_s = 0.1
        trial.crew.wait(5)
        proxy.delay_s = 0.0
        redis.execute_command("CLIENT", "PAUSE", 3000)
        trial.crew.wait(5)
        proxy.is_silent = True
        trial.crew.wait(4)
        proxy.cut()
        trial.crew.wait(3)
        proxy.is_silent = False
        proxy.cut()
        recovered_s = trial.drained_s()
        found = trial.settle()
    lost_answers = trial.crew.said('"after_lost_answer": true')
    found.facts |= {"recovered_s": round(recovered_s, 1), "lost_answers": lost_answers}
    found.checks |= {"no worker ended": not trial.crew.ends(), "lost answers were seen": lost_answers > 0}
    return found


def store_full(trial: Trial) -> Finding:
    """No memory left, nothing evicted: writes are refused whole, reads are served, and then it goes on."""
    trial.worker("w")
    trial.send()
    with trial.arena.redis as redis:
        redis.config_set("maxmemory", 1)
        trial.crew.wait(2)
        applied, counted = sum(trial.applied()) + PARTITIONS, trial.counted()
        reads = trial.epochs()
        trial.crew.wait(4)
        unmoved = sum(trial.applied()) + PARTITIONS
        redis.config_set("maxmemory", 0)
    found = trial.settle()
    found.facts["applied_while_full"] = unmoved - applied
    found.checks |= {
        "no partial batch while full": counted == applied,
        "writes were refused": unmoved == applied and trial.crew.said("store_fails") > 0,
        "reads were served": all(reads),
        "no worker ended": not trial.crew.ends(),
    }
    return found
