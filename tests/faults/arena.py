"""Services of our own to break, and trials on them: a fresh prefix, a released model, workers, traffic, the audit."""

from __future__ import annotations

import asyncio
import contextlib
import shutil
import tempfile
import time
import uuid
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from math import isfinite
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from redis import Redis
from redis.asyncio import Redis as AsyncRedis
from redis.exceptions import RedisError

from deploy.embedded import Embedded
from deploy.log_reader import open_consumer, spans
from features.ledger import Ledger
from features.settings import Connections
from stream.topics import EVENTS, create
from tests.faults.audit import Audit, audit, live_digest
from tests.faults.crew import Crew
from tests.faults.traffic import Mix, Traffic
from tests.stream import stage

PARTITIONS = 4
SESSION_S = 6


@dataclass(frozen=True, slots=True)
class Pace:
    """How long a row takes: `steady_s` of undisturbed traffic before its fault, and how many faults of its kind."""

    steady_s: float = 10.0
    kills: int = 50
    takeovers: int = 2
    pauses: int = 8
    outages: int = 2
    storm_s: float = 120.0
    drain_s: float = 90.0


FULL = Pace()
QUICK = Pace(steady_s=2.0, kills=2, takeovers=0, pauses=2, outages=1, storm_s=9.0, drain_s=45.0)
MUTANT = replace(QUICK, drain_s=12.0)


@dataclass(slots=True)
class Finding:
    """What a row found in one trial: what must hold and whether it did, and figures for a person."""

    checks: dict[str, bool] = field(default_factory=dict)
    facts: dict[str, Any] = field(default_factory=dict)
    lost: int = 0
    double_applied: int = 0

    @property
    def passed(self) -> bool:
        """Whether all that must hold did."""
        return all(self.checks.values())


class Arena:
    """Kafka (one broker or three) and Valkey with an append-only file, and a small model to release in each trial."""

    def __init__(self, folder: Path, brokers: int = 1) -> None:
        self.folder = folder
        self.brokers = brokers
        self._data = Path(tempfile.mkdtemp(prefix="rgalign-faults-"))
        self.services = Embedded()
        self._bundle: Path | None = None
        self._names: tuple[str, ...] = ()

    def __enter__(self) -> Self:
        self.services.start(data_dir=self._data, brokers=self.brokers)
        self._names = self.services.supervisor.names()
        self._bundle = stage.draft(self._data / "bundle")
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.services.stop()
        shutil.rmtree(self._data, ignore_errors=True)

    @property
    def kafka(self) -> tuple[str, ...]:
        """The brokers by name."""
        return tuple(name for name in self._names if name.startswith("kafka"))

    def missing(self) -> list[str]:
        """The services that are down."""
        there = self.services.supervisor.names()
        return [name for name in self._names if name not in there]

    @property
    def redis(self) -> Redis:
        """A client of the store."""
        return Redis.from_url(self.services.redis_url)

    @property
    def redis_port(self) -> int:
        """The store's port."""
        return int(self.services.redis_url.removesuffix("/0").rpartition(":")[2])

    @property
    def redis_home(self) -> Path:
        """The store's folder."""
        return self._data / "redis"

    @contextlib.contextmanager
    def trial(self, name: str, seed: int, pace: Pace, spoil: str | None = None) -> Iterator[Trial]:
        """A deployment under a new prefix, without workers yet; all of it is gone at the end but its logs."""
        assert self._bundle is not None
        connections = Connections(
            kafka_url=self.services.kafka_url,
            redis_url=self.services.redis_url,
            prefix=f"t{uuid.uuid4().hex[:12]}",
            registry=self._data / "registry" / uuid.uuid4().hex,
        )
        create(connections, PARTITIONS, replication=min(self.brokers, 3))
        stage.released(connections, self._bundle)
        logs = self.folder / name
        shutil.rmtree(logs, ignore_errors=True)
        running = Trial(self, connections, logs, seed, pace)
        running.spoil = spoil
        try:
            yield running
        finally:
            running.close()


class Trial:
    """One row under one seed."""

    def __init__(self, arena: Arena, connections: Connections, logs: Path, seed: int, pace: Pace) -> None:
        self.arena, self.connections, self.seed, self.pace = arena, connections, seed, pace
        self.spoil: str | None = None
        env = {"RGALIGN_SESSION_TIMEOUT_S": str(SESSION_S), "RGALIGN_POLICY_FLOOR": "0"}
        self.crew = Crew({**connections.environment(), **env}, logs)
        self.traffic: Traffic | None = None

    def worker(self, name: str, **settings: str) -> None:
        """Starts a worker (under the trial's mutant, if it has one) and waits until it has partitions."""
        if self.spoil is not None:
            settings.setdefault("FAULTS_SPOIL", self.spoil)
        self.crew.start(name, **settings)

    def send(self, mix: Mix | None = None) -> Traffic:
        """Begins traffic and waits for the steady state."""
        self.traffic = Traffic(self.connections, self.seed, mix or Mix())
        self.traffic.start()
        self.crew.wait(self.pace.steady_s)
        return self.traffic

    def applied(self) -> list[int]:
        """The applied offset of each partition; -1 where the store cannot say."""
        return asyncio.run(self._applied())

    async def _applied(self) -> list[int]:
        async with AsyncRedis.from_url(self.connections.redis_url, socket_timeout=2.0) as redis:
            ledger = Ledger(redis, self.connections.named(EVENTS.name), self.connections.prefix)
            try:
                return [await ledger.applied(number) for number in range(PARTITIONS)]
            except (RedisError, OSError):
                return [-1] * PARTITIONS

    def counted(self) -> int:
        """Records that the ledger has counted, over all partitions."""
        return stage.totals(self.connections).records

    def epochs(self) -> list[int]:
        """The epoch of each partition: it changes when somebody claims it."""
        keys = [self._meta(number) for number in range(PARTITIONS)]
        with self.arena.redis as redis:
            return [int(redis.hget(key, "epoch") or 0) for key in keys]

    def _meta(self, partition: int) -> str:
        topic, prefix = self.connections.named(EVENTS.name), self.connections.prefix
        return f"{prefix}.rgalign:ledger:{{{topic}:{partition}}}:meta"

    def ends(self) -> list[int]:
        """The end offset of each partition of the log."""
        consumer = open_consumer(self.connections)
        try:
            found = spans(consumer, self.connections.named(EVENTS.name))
        finally:
            consumer.close()
        return [end for _, (_, end) in sorted((place.partition, span) for place, span in found.items())]

    def backlog(self) -> int:
        """Records in the log that are not applied."""
        return sum(end - 1 - applied for end, applied in zip(self.ends(), self.applied(), strict=True))

    def drained_s(self) -> float:
        """Seconds until everything that is in the log now is applied; infinity when it takes too long."""
        began_s, ends = time.monotonic(), self.ends()
        with contextlib.suppress(TimeoutError):
            self.crew.until(
                lambda: all(applied >= end - 1 for end, applied in zip(ends, self.applied(), strict=True)),
                self.pace.drain_s,
                "the log is not drained",
            )
            return time.monotonic() - began_s
        return float("inf")

    def settle(self) -> Finding:
        """Ends the traffic, waits until all of it is applied, and audits."""
        assert self.traffic is not None
        self.traffic.stop()
        drained_s = self.drained_s()
        found = self.audited()
        facts = {
            "sent": self.traffic.sent,
            "acked": len(self.traffic.acked),
            **({"refused": self.traffic.refused} if self.traffic.refused else {}),
            "drained_s": round(drained_s, 1) if isfinite(drained_s) else "not in time",
            "worst_ack_s": round(self.traffic.worst_ack_s, 2),
            **found.figures(),
        }
        return Finding(found.checks(), facts, found.lost, found.double_applied)

    def live_digest(self) -> str:
        """SHA-256 over the ledger's states, as a replay's fold tells it."""
        return asyncio.run(live_digest(self.connections, PARTITIONS))

    def audited(self) -> Audit:
        """The audit as of now."""
        acked = set() if self.traffic is None else set(self.traffic.acked)
        return asyncio.run(audit(self.connections, acked, PARTITIONS))

    def close(self) -> None:
        """Ends workers and traffic."""
        self.crew.close()
        if self.traffic is not None:
            self.traffic.stop()
