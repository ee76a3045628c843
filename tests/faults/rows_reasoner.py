"""Rows 21 and 22: a reasoner that runs out of memory, hangs and gives nonsense, and one that is a hundred times slower.

Both run the real embedder on the real model beside a worker under load. What an embedder may cost the path of events is
told as ratios to the same traffic without one: the p99 of the decisions' latency and the records behind.
"""

from __future__ import annotations

import asyncio
import json
import time
from dataclasses import dataclass

import numpy as np

from deploy.log_reader import whole_topic
from features.contract import parse, to_ms
from features.decisions import Decision
from stream.embedder_watch import STALENESS_SLO_S
from stream.refresh_queue import CAPACITY
from stream.topics import DECISIONS, EVENTS
from tests.faults.arena import Finding, Trial
from tests.faults.embedder import ACTS
from tests.faults.traffic import Mix
from tests.faults.vectors_kept import Kept, kept
from tests.stream import stage

MIX = Mix(rate_per_s=150, users=200, is_varied=True)
REACHED_DEADLINE_S = 400.0
SPAN_OF_STEADY = 3.0
"""How many times the steady state's length each of the two measured spans is."""
SLOWER = 100


@dataclass(frozen=True, slots=True)
class Span:
    """A part of a trial: its wall clock in ms, the mean of the records behind, the most that waited in the embedder."""

    began_ms: int
    ended_ms: int
    behind: float
    queued: int
    oldest_wait_s: float


def reasoner_fails(trial: Trial) -> Finding:
    """Every second call runs out of memory, hangs, or gives vectors of another width or with NaN, in turns."""
    stage.heeding(trial.connections)
    trial.worker("w")
    trial.send(MIX)
    off = _span(trial)
    spoil = json.dumps({"acts": ACTS, "every": 2})
    trial.crew.start("e", module="tests.faults.embedder", FAULTS_SPOIL=spoil, RGALIGN_EMBED_DEADLINE_S="6")
    on = _span(trial)
    trial.crew.until(lambda: not _unreached(trial), REACHED_DEADLINE_S, f"not reached: {_unreached(trial)}")
    computed = _computed(trial)
    found = _closed(trial, off, on)
    found.facts |= {"computed": computed, "failures": _failures(trial)}
    found.checks |= {
        "vectors were stored between the failures": found.facts["vectors"] > 0 and found.facts["rows"] > 0,
        "no worker or embedder ended": not trial.crew.ends(),
    }
    return found


def reasoner_slow(trial: Trial) -> Finding:
    """Each call takes a hundred times as long as it would: requests pile up, and only the newest of a user waits.

    A batch may take 300 s here: half a minute a prompt is slow, and at the usual deadline would count as stuck.
    """
    stage.heeding(trial.connections)
    trial.worker("w")
    trial.send(MIX)
    off = _span(trial)
    spoil = json.dumps({"slower": SLOWER})
    trial.crew.start("e", module="tests.faults.embedder", FAULTS_SPOIL=spoil, RGALIGN_EMBED_DEADLINE_S="300")
    on = _span(trial, at_least_s=2 * STALENESS_SLO_S)
    trial.crew.until(lambda: _computed(trial) > 0, REACHED_DEADLINE_S, "no vector came at all")
    superseded = trial.crew.metric("e", 'rgalign_queries_embedded_total{result="superseded"}')
    found = _closed(trial, off, on)
    found.facts["superseded"] = int(superseded)
    found.checks |= {
        "the newest of a user won": superseded > 0 and on.queued <= MIX.users,
        "staleness was told": on.oldest_wait_s > STALENESS_SLO_S and trial.crew.said("staleness_slo_missed") > 0,
        "no worker or embedder ended": not trial.crew.ends(),
    }
    return found


def _span(trial: Trial, at_least_s: float = 0.0) -> Span:
    """Lets time pass and looks on."""
    began_ms, over_s = _now_ms(), time.monotonic() + max(SPAN_OF_STEADY * trial.pace.steady_s, at_least_s)
    behind, queued, wait_s = [], 0.0, 0.0
    has_embedder = trial.crew.has("e")
    while time.monotonic() < over_s:
        trial.crew.wait(0.5)
        topic = trial.connections.named(EVENTS.name)
        behind.append(trial.crew.metric("w", 'rgalign_consumer_lag_records{partition="', f'topic="{topic}"'))
        if has_embedder:
            queued = max(queued, trial.crew.metric("e", "rgalign_queued_queries"))
            wait_s = max(wait_s, trial.crew.metric("e", "rgalign_oldest_query_wait_seconds"))
    return Span(began_ms, _now_ms(), float(np.mean(behind)), int(queued), wait_s)


def _closed(trial: Trial, off: Span, on: Span) -> Finding:
    """The books, the vectors that were kept, and what the embedder cost the path of events."""
    found = trial.settle()
    decisions = [parse(Decision, record.value) for record in whole_topic(trial.connections, DECISIONS.name)]
    before, during = (_latencies_ms(decisions, span) for span in (off, on))
    vectors = _kept(trial)
    found.facts |= {
        "event_p99_on_over_off": f"{_p99(during) / _p99(before):.2f} (<= 1.1; n {len(during)} and {len(before)})",
        "records_behind_on_over_off": f"{(on.behind + 1) / (off.behind + 1):.2f} (<= 1.1)",
        "queued_at_most": on.queued,
        "oldest_wait_s": round(on.oldest_wait_s, 1),
        "vectors": vectors.vectors,
        "rows": vectors.rows,
    }
    found.checks |= {
        "no vector is unsound": vectors.unsound == 0,
        f"at most {CAPACITY} requests waited": on.queued <= CAPACITY,
        "decisions were made with the embedder on and off": bool(len(before) and len(during)),
    }
    return found


def _latencies_ms(decisions: list[Decision], span: Span) -> list[float]:
    return [d.latency_ms for d in decisions if span.began_ms <= to_ms(d.made_at) < span.ended_ms and not d.refines]


def _p99(latencies_ms: list[float]) -> float:
    return float(np.percentile(latencies_ms, 99)) if latencies_ms else float("nan")


def _kept(trial: Trial) -> Kept:
    return asyncio.run(kept(trial.connections, [f"demo:u{number}" for number in range(MIX.users)], stage.WIDTH))


def _computed(trial: Trial) -> int:
    return int(trial.crew.metric("e", 'rgalign_queries_embedded_total{result="computed"}'))


def _unreached(trial: Trial) -> list[str]:
    return [act for act in ACTS if not trial.crew.said(f'"act": "{act}"')]


def _failures(trial: Trial) -> str:
    kinds = ("oom", "late", "width", "not_finite")
    name = 'rgalign_reasoner_failures_total{kind="%s"}'
    return " ".join(f"{kind} {int(trial.crew.metric('e', name % kind))}" for kind in kinds)


def _now_ms() -> int:
    return time.time_ns() // 1_000_000
