"""Where an arm's CPU time goes: `python -m tests.benchmarks.sampling state 40000` prints self and total time per event.

A timer of CPU time interrupts the main thread a thousand times a second; a C function's time is its caller's line.
What Faust's consumer thread uses shows as `select` of the main thread, and in the last line.
"""

from __future__ import annotations

import signal
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from types import FrameType

from deploy.screen import console
from tests.benchmarks import services, traffic
from tests.benchmarks.arms import ARMS
from tests.benchmarks.launching import Task, measure
from tests.benchmarks.meter import Block, Meter
from tests.stream import stage

EVERY_S = 0.001
ROWS = 45


class Sampler:
    """Counts where the main thread stands: by line, by function, by function with all that it calls."""

    def __init__(self) -> None:
        self.lines: Counter[str] = Counter()
        self.functions: Counter[str] = Counter()
        self.totals: Counter[str] = Counter()
        self._main_s = self._all_s = 0.0

    def start(self) -> None:
        self._main_s, self._all_s = time.thread_time(), time.process_time()
        signal.signal(signal.SIGPROF, self._sample)
        signal.setitimer(signal.ITIMER_PROF, EVERY_S, EVERY_S)

    def stop(self) -> None:
        signal.setitimer(signal.ITIMER_PROF, 0)
        self._main_s, self._all_s = time.thread_time() - self._main_s, time.process_time() - self._all_s

    def _sample(self, _: int, frame: FrameType | None) -> None:
        if frame is not None:
            self.lines[f"{_name(frame)}:{frame.f_lineno}"] += 1
            self.functions[_name(frame)] += 1
        above = set()
        while frame is not None:
            above.add(_name(frame))
            frame = frame.f_back
        self.totals.update(above)

    def told(self, events: int) -> str:
        """The tables, in microseconds an event."""
        taken = max(sum(self.functions.values()), 1)
        unit = 1e6 * self._all_s / taken / events
        parts = [f"{1e6 * self._all_s / events:.1f} us of CPU an event, {taken} samples"]
        for title, counts in (
            ("self, by function", self.functions),
            ("total", self.totals),
            ("self, by line", self.lines),
        ):
            parts.append(f"\n{title}")
            parts += [f"  {unit * count:7.2f} us  {name}" for name, count in counts.most_common(ROWS)]
        main_us, all_us = 1e6 * self._main_s / events, 1e6 * self._all_s / events
        parts.append(f"\nmain thread {main_us:.1f} us, others {all_us - main_us:.1f} us")
        return "\n".join(parts)


def _name(frame: FrameType) -> str:
    path = Path(frame.f_code.co_filename)
    return f"{path.parent.name}/{path.name} {frame.f_code.co_qualname}"


def sampled(task: Task, at_start: Callable[[], None]) -> Block:
    """The task's arm, sampled between its marks; the tables go to `.out/profile-<arm>.txt`."""
    sampler, begin, end = Sampler(), Meter.begin, Meter.end

    def begun(meter: Meter, events: int) -> None:
        begin(meter, events)
        sampler.start()

    def ended(meter: Meter, events: int) -> Block:
        sampler.stop()
        return end(meter, events)

    Meter.begin, Meter.end = begun, ended  # type: ignore[method-assign]
    block = ARMS[task.arm](task, at_start)
    target = Path(".out") / f"profile-{task.arm}.txt"
    target.parent.mkdir(exist_ok=True)
    target.write_text(sampler.told(block.events))
    return block


def main() -> None:
    """Samples one arm over a log of its own."""
    arm, events = sys.argv[1], int(sys.argv[2])
    with services.started() as running, tempfile.TemporaryDirectory() as folder:
        connections = running.connections("profile")
        start_ms = time.time_ns() // 1_000_000 - events
        services.fill(connections, traffic.events(traffic.Traffic(), 2 * events + 10_000, start_ms))
        stage.released(connections, stage.draft(Path(folder)))
        [block] = measure(sampled, Task(arm, running, "profile", 1, "profile", events, events))
    shown = console()
    shown.print(Path(f".out/profile-{arm}.txt").read_text(), markup=False, soft_wrap=True)
    shown.print(f"{block.rate:,.0f} events/s, {block.all_cpu_us:.1f} us of CPU an event with Valkey and Kafka")


if __name__ == "__main__":
    main()
