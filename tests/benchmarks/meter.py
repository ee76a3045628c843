"""What an arm is measured by: records, wall time, and the CPU seconds of itself, of Valkey and of the broker."""

from __future__ import annotations

import os
import resource
import time
from dataclasses import dataclass
from pathlib import Path

from redis import Redis


@dataclass(frozen=True, slots=True)
class Block:
    """One arm's work between two marks. CPU in seconds; the services' is None where /proc does not tell."""

    arm: str
    events: int
    wall_s: float
    cpu_s: float
    store_cpu_s: float
    broker_cpu_s: float | None

    @property
    def rate(self) -> float:
        """Events a second of wall time."""
        return self.events / self.wall_s

    @property
    def cpu_us(self) -> float:
        """Microseconds of CPU an event: the arm's own process."""
        return 1e6 * self.cpu_s / self.events

    @property
    def all_cpu_us(self) -> float:
        """Microseconds of CPU an event: the arm, Valkey and the broker."""
        return 1e6 * (self.cpu_s + self.store_cpu_s + (self.broker_cpu_s or 0.0)) / self.events


@dataclass(frozen=True, slots=True)
class _Mark:
    events: int
    wall_s: float
    cpu_s: float
    store_cpu_s: float
    broker_cpu_s: float | None


class Meter:
    """Takes marks in the process of the arm."""

    def __init__(self, arm: str, redis_url: str, kafka_pid: int) -> None:
        self._arm = arm
        self._kafka_pid = kafka_pid
        self._redis = Redis.from_url(redis_url)
        self._first: _Mark | None = None

    @property
    def is_begun(self) -> bool:
        """Whether there is a first mark."""
        return self._first is not None

    def begin(self, events: int) -> None:
        """The first mark; `events` were done before it."""
        self._redis.ping()
        self._first = self._mark(events)

    def end(self, events: int) -> Block:
        """The block up to now. Raises RuntimeError without a first mark."""
        if self._first is None:
            raise RuntimeError("the block has no beginning: call begin() when the warm-up is over")
        first, last = self._first, self._mark(events)
        broker_s = None if last.broker_cpu_s is None else last.broker_cpu_s - (first.broker_cpu_s or 0.0)
        return Block(
            self._arm,
            last.events - first.events,
            last.wall_s - first.wall_s,
            last.cpu_s - first.cpu_s,
            last.store_cpu_s - first.store_cpu_s,
            broker_s,
        )

    def _mark(self, events: int) -> _Mark:
        wall_s, used = time.perf_counter(), resource.getrusage(resource.RUSAGE_SELF)
        store = self._redis.info("cpu")
        return _Mark(
            events,
            wall_s,
            used.ru_utime + used.ru_stime,
            float(store["used_cpu_user"]) + float(store["used_cpu_sys"]),
            process_cpu_s(self._kafka_pid),
        )


def process_cpu_s(pid: int) -> float | None:
    """CPU seconds of another process and all its threads, to 10 ms; None where /proc does not tell."""
    stat = Path(f"/proc/{pid}/stat")
    if not stat.exists():
        return None
    told = stat.read_text().rpartition(")")[2].split()
    return (int(told[11]) + int(told[12])) / os.sysconf("SC_CLK_TCK")


def machine_cpu_s() -> float:
    """CPU seconds that all processes of the machine have used, on all its cores; 0 where /proc does not tell."""
    told = Path("/proc/stat")
    if not told.exists():
        return 0.0
    user, nice, system, _idle, _iowait, *interrupts = map(int, told.read_text().split("\n", 1)[0].split()[1:8])
    return (user + nice + system + sum(interrupts)) / os.sysconf("SC_CLK_TCK")


def cpu_pressure() -> float | None:
    """PSI: the share of the last 10 s, in %, in which some task waited for a core; None where it is not told."""
    told = Path("/proc/pressure/cpu")
    if not told.exists():
        return None
    return float(told.read_text().split("avg10=")[1].split()[0])
