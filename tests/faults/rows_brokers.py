"""Rows 5, 7, 25 and 26: the broker down and up, commits of offsets that fail, one and two of three brokers killed."""

from __future__ import annotations

import json
import random
import time

from tests.faults.arena import SESSION_S, Finding, Trial
from tests.faults.rows_workers import left_uncommitted
from tests.faults.traffic import Mix

CAPACITY_PER_S = 4000
"""What a worker catches up with at least, for the theory of a recovery."""
COMMITS_FAIL_S = 12.0
MAX_GROWTH_MIB = 200


def broker_down(trial: Trial) -> Finding:
    """The only broker killed and started again after a while, twice: the worker goes on where it was."""
    draw = random.Random(trial.seed)
    trial.worker("w")
    trial.send()
    told = []
    for down_s in (5.0, draw.uniform(10, 20))[: trial.pace.outages]:
        trial.arena.services.cut("kafka")
        trial.crew.wait(down_s)
        trial.arena.services.revive("kafka")
        backlog = trial.backlog()
        recovered_s = trial.drained_s()
        theory_s = 1.25 * (SESSION_S + (backlog + down_s * Mix().rate_per_s) / (CAPACITY_PER_S - Mix().rate_per_s))
        told.append(f"{recovered_s:.1f} after {down_s:.0f} down (<= {theory_s:.1f})")
    found = trial.settle()
    found.facts |= {"recovered_s": "; ".join(told), "restarts": len(trial.crew.ends())}
    return found


def commits_fail(trial: Trial) -> Finding:
    """Commits of offsets fail, before or after the broker took them; the worker is killed meanwhile and again later."""
    until_s = time.time() + trial.pace.steady_s + COMMITS_FAIL_S
    trial.crew.start("w", FAULTS_SPOIL=json.dumps({"commits_fail_until_s": until_s}))
    trial.send(Mix(duplicates=0.02))
    trial.crew.kill("w", then_start=True)
    trial.crew.wait(max(until_s - time.time(), 0))
    trial.crew.wait_ready("w")
    trial.crew.wait(3)
    found = trial.settle()
    failed, left = trial.crew.said("offset_commit_fails"), left_uncommitted(trial)
    found.facts |= {"failed": failed, "uncommitted": left, "restarts": len(trial.crew.ends())}
    found.checks |= {
        "commits failed": failed > 0,
        "later commits advance to the end": left == 0,
    }
    return found


def one_of_three(trial: Trial) -> Finding:
    """One of three brokers killed (three replicas, two in sync needed), and back: nothing acknowledged is lost."""
    draw = random.Random(trial.seed)
    trial.worker("a")
    trial.worker("b")
    trial.send()
    victim = draw.choice(trial.arena.kafka)
    trial.arena.services.cut(victim)
    flowing_s = trial.drained_s()
    trial.crew.wait(10)
    trial.arena.services.revive(victim)
    trial.crew.wait(3)
    found = trial.settle()
    found.facts |= {"killed": victim, "flows_again_s": f"{flowing_s:.1f} (<= 10)", "restarts": len(trial.crew.ends())}
    return found


def two_of_three(trial: Trial) -> Finding:
    """Two of three brokers killed: nothing is acknowledged; both back: everything goes on."""
    draw = random.Random(trial.seed)
    trial.worker("w")
    traffic = trial.send()
    before_mib = trial.crew.rss_mib("w")
    victims = draw.sample(trial.arena.kafka, 2)
    for victim in victims:
        trial.arena.services.cut(victim)
    trial.crew.wait(2)
    acked = len(traffic.acked)
    trial.crew.wait(8)
    acked_while_down = len(traffic.acked) - acked
    for victim in victims:
        trial.arena.services.revive(victim, wait=False)
    for victim in victims:
        trial.arena.services.supervisor.wait_ready(victim)
    recovered_s = trial.drained_s()
    growth_mib = trial.crew.rss_mib("w") - before_mib
    found = trial.settle()
    found.facts |= {
        "killed": " ".join(victims), "recovered_s": round(recovered_s, 1), "grown_mib": round(growth_mib),
        "restarts": len(trial.crew.ends()), "acked_while_down": acked_while_down,
    }  # fmt: skip
    found.checks |= {
        "nothing acknowledged by one of three": acked_while_down == 0,
        "memory bounded": growth_mib < MAX_GROWTH_MIB,
    }
    return found
