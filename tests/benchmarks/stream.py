"""`make bench-stream`: what the stream costs beside its peers, in one run on one Kafka and one Valkey of its own.

Every arm is a process that reads the same topic of four partitions. Blocks of all arms alternate in random order; a
ratio is that of the medians over all blocks with a 95 % block-bootstrap interval, to be believed outside the A/A
band, which is our state pipeline against itself. Marks are taken when all effects are in place, online rows included.

noop_faust          Faust's own path and default buffers, an agent that does nothing. Trap: it is slow, see hand_loop.
state               our worker: decode, validate, dedupe, count, fenced commit, and the online rows that Feast reads;
                    no event triggers. Trap: requests for latent queries are left out here, see state_with_queries.
state_again         the same, for the A/A band.
state_without_rows  the same without online rows. Trap: nobody could read the features.
state_with_queries  the same as state, and asks for a latent query whenever the meaning of a prompt changed.
whole               all of it: 5 % of the events ranked over the knowledge base (187 intents), decisions logged, latent
                    queries asked for. Trap: no embedder runs, so every query is null; no cap, floor or age silences.
hand_loop           200 lines of aiokafka, orjson and one fenced script a batch, states cached as ours are: the same
                    features. Trap: no dead letters, not readable by Feast; void below 3.0 of noop_faust.
hand_loop_unfenced  the same without the fence. Trap: wrong counts after a crash.
quix                Quix Streams, the same fold on RocksDB with a changelog, features to Redis each second. Trap: its
                    state is not in Redis; watermarks are lost with the process.

Events are canonical JSON of about 270 bytes by `traffic`; equality of all features is asserted first (`equality`).
`vs_*` and `*_vs_*` are ratios of rates, higher is better; `cpu_us_per_event` is the worker, Valkey and the broker for
one event of `state`; `workers_cpu_per_event`, `users_*` and `history_*` are ratios of that cost, lower is better.
"""

from __future__ import annotations

import logging
import os
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from redis import Redis

from deploy.screen import console, progress
from tests.benchmarks import equality, feature_store, quix, scaling, services, telling
from tests.benchmarks.arms import ARMS
from tests.benchmarks.launching import Task, measure
from tests.benchmarks.meter import Block
from tests.benchmarks.rounds import Measured, alternate
from tests.benchmarks.traffic import Traffic, events
from tests.stream import stage

PREFIX, QUIX = "bench", "quix"
Advance = Callable[[str, int, int], None]


@dataclass(frozen=True, slots=True)
class Size:
    """How much is measured: `rounds` at most, until `race_s`; the pairs until `pairs_s` (seconds from the start)."""

    rounds: int
    race_s: float
    pairs_s: float
    warm: int
    events: int
    without: frozenset[str]
    pairs: int
    pair_events: int
    many_users: int
    zipf: float
    writes: int
    reads: int


FULL = Size(
    rounds=12, race_s=900, pairs_s=1_350, warm=6_000, events=48_000, without=frozenset(),
    pairs=4, pair_events=12_000, many_users=1_000_000, zipf=0.9, writes=200, reads=2_000,
)  # fmt: skip
QUICK = Size(
    rounds=3, race_s=195, pairs_s=255, warm=4_000, events=12_000,
    without=frozenset({"state_with_queries", "hand_loop_unfenced"}),
    pairs=1, pair_events=6_000, many_users=200_000, zipf=0.0, writes=30, reads=300,
)  # fmt: skip


@dataclass(slots=True)
class Bench:
    """One run."""

    services: services.Services
    size: Size
    seed: int
    folder: Path
    advance: Advance
    began_s: float

    def arms(self) -> list[str]:
        """The arms of this run; Quix Streams where it can be installed."""
        named = [arm for arm in (*ARMS, QUIX) if arm not in self.size.without]
        return named if quix.interpreter() else [arm for arm in named if arm != QUIX]

    def run(self, task: Task) -> Block:
        """One block of an arm."""
        if task.arm == QUIX:
            return quix.run(task, self.folder / f"quix-{task.prefix}")
        return measure(ARMS[task.arm], task)[0]

    def task(self, arm: str, number: int, prefix: str = PREFIX) -> Task:
        """A task with the arm's own store; Quix goes on in its group, the others where their store says."""
        group = f"{prefix}-{arm}" if arm == QUIX else f"{prefix}-{arm}-{number}"
        store = [*ARMS, QUIX].index(arm) + 1
        return Task(arm, self.services, prefix, store, group, self.size.warm, self.size.events)

    def check_equality(self) -> int:
        """Returns how many values were equal in all arms. Raises `FeaturesDiffer`."""
        prefix, now_ms = f"{PREFIX}-equal", time.time_ns() // 1_000_000
        log = equality.troubled(now_ms - equality.CHUNKS * equality.CHUNK_MS)
        connections = self.services.connections(prefix)
        services.fill(connections, log)
        stage.released(connections, self.draft)
        found, arms = {}, [arm for arm in self.arms() if arm in equality.READERS]
        for place, arm in enumerate(arms):
            task = self.task(arm, 0, prefix)
            task = Task(
                arm, task.services, prefix, task.store, task.group, len(log) // 2, len(log) - len(log) // 2, is_all=True
            )
            self.run(task)
            found[arm] = equality.READERS[arm](task.connections)
            self.advance("equality of features", place + 1, len(arms))
        Redis.from_url(self.services.redis_url).flushall()
        return equality.check(found)

    def race(self) -> Measured:
        """All arms in alternation."""
        connections, count = self.services.connections(PREFIX), (self.size.rounds + 1) * self.longest + 20_000
        start_ms = time.time_ns() // 1_000_000 - count
        services.fill(
            connections, events(Traffic(seed=self.seed), count, start_ms), lambda n: self.advance("the log", n, count)
        )
        stage.released(connections, self.draft)
        return alternate(
            dict.fromkeys(self.arms(), self.run),
            self.task,
            rounds=self.size.rounds,
            budget_s=self.began_s + self.size.race_s - time.monotonic(),
            seed=self.seed,
            advance=lambda done, total: self.advance("arms in alternation", done, total),
        )

    @property
    def longest(self) -> int:
        """The most records that a block may take: both fetches at the marks are taken whole."""
        return self.size.warm + self.size.events + 30_000

    @property
    def draft(self) -> Path:
        """An untrained bundle over the knowledge base."""
        made = self.folder / "draft0"
        return made if made.exists() else stage.draft(self.folder)

    def pairs(self) -> dict[str, object]:
        """The rows about scale and about the feature store."""
        size, flush = self.size, Redis.from_url(self.services.redis_url).flushall
        plan = scaling.Plan(
            rounds=size.pairs,
            warm=size.pair_events,
            events=size.pair_events,
            many=size.many_users,
            seed=self.seed,
            ends_s=self.began_s + size.pairs_s,
        )
        found: dict[str, object] = {}
        for name, measured in (
            ("users_1m_over_10k", lambda: scaling.users(self.services, plan, 0.0, self.advance)),
            ("history_10k_over_10", lambda: scaling.history(self.services, plan, self.advance)),
            ("workers_cpu_per_event", lambda: scaling.workers(self.services, plan, self.advance)),
            ("users_1m_over_10k_zipf", lambda: scaling.users(self.services, plan, size.zipf, self.advance)),
            (
                "users_1m_over_10k_without_visits",
                lambda: scaling.users_without_visits(self.services, plan, self.advance),
            ),
        ):
            if time.monotonic() < plan.ends_s and (size.zipf or not name.startswith("users_1m_over_10k_")):
                found[name] = measured()
                flush()
        connections = self.services.connections(PREFIX)
        found["writes"] = feature_store.writes(connections, self.size.writes, self.seed, self.advance)
        found["reads"] = feature_store.reads(connections, self.size.reads, self.seed, self.advance)
        return found


def main() -> int:
    """Runs the benchmark; QUICK=1 for the short one, SEED=n for another order and log."""
    is_quick, seed = bool(os.environ.get("QUICK")), int(os.environ.get("SEED", "1"))
    logging.getLogger("aiokafka").setLevel(logging.CRITICAL)  # it tells of every topic that is not quite there yet
    size, shown, began_s = QUICK if is_quick else FULL, console(), time.monotonic()
    with tempfile.TemporaryDirectory(prefix="rgalign-bench-") as folder, progress(shown) as advance:  # noqa: SIM117
        with services.started() as running:
            bench = Bench(running, size, seed, Path(folder), advance, began_s)
            equal = bench.check_equality()
            measured = bench.race()
            pairs = bench.pairs()
    telling.tell(measured, pairs, telling.Circumstances(seed, is_quick, equal, size.many_users, began_s), shown)
    return 0


if __name__ == "__main__":
    sys.exit(main())
