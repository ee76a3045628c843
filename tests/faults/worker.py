"""A real worker, spoiled: failpoints around its effects, a mutant without a safeguard, a clock that jumps.

`FAULTS_SPOIL` holds JSON: {"point": "before_commit", "pass": 3, "act": "exit" | "stop"}, {"mutant": "no_fence"},
{"clock_jumps_s": [[after, by], ...]} or {"commits_fail_until_s": 1764000000}. The product has no hook for any of it:
methods are wrapped here, then `stream.app.main` runs as ever.
"""

from __future__ import annotations

import functools
import itertools
import json
import os
import signal
import time
from collections.abc import Callable
from typing import Any

import structlog
from aiokafka import AIOKafkaConsumer
from aiokafka.consumer.group_coordinator import GroupCoordinator
from aiokafka.errors import IllegalGenerationError, NotCoordinatorForGroupError, RequestTimedOutError, UnknownError

import stream.app
from features import ledger
from features.shopper_rows import ShopperRows
from stream.dead_letters import DeadLetters
from stream.outbox import Outbox
from tests.faults import mutants
from tests.faults.crew import EXIT

log = structlog.get_logger(__name__)

POINTS: dict[str, tuple[type, str]] = {
    "claim": (ledger.Ledger, "claim"),
    "load": (ledger.Ledger, "load"),
    "dead_letter": (DeadLetters, "set_aside"),
    "commit": (ledger.Ledger, "commit"),
    "publish": (Outbox, "send"),
    "rows": (ShopperRows, "write"),
    "clean": (ledger.Ledger, "clean"),
    "offset_commit": (AIOKafkaConsumer, "commit"),
}
COMMIT_FAULTS = (
    (False, IllegalGenerationError),
    (True, RequestTimedOutError),
    (False, NotCoordinatorForGroupError),
    (True, RequestTimedOutError),
    (False, IllegalGenerationError),
    (False, UnknownError),
)
"""Whether the broker takes a commit of offsets, and the error that the worker gets."""
MAY_BE_IDLE = {"dead_letter", "publish"}
"""Calls that a batch without dead letters or decisions makes too, with nothing to do."""
FAILPOINTS = tuple(f"{side}_{name}" for name in POINTS for side in ("before", "after"))
"""Every place where a worker can be ended: before and after each of its effects."""


def _act(act: str, point: str) -> None:
    log.warning("failpoint", point=point, act=act)
    if act == "stop":
        os.kill(os.getpid(), signal.SIGSTOP)
    else:
        os._exit(EXIT)


def arm(point: str, nth: int, act: str) -> None:
    """Ends or stops this process at the n-th pass of `point` that has something to do."""
    side, _, name = point.partition("_")
    owner, method = POINTS[name]
    real = getattr(owner, method)
    passes = itertools.count(1)

    @functools.wraps(real)
    async def passed(self: Any, *args: Any, **kwargs: Any) -> Any:
        is_idle = name in MAY_BE_IDLE and not args[-1]
        hit = not is_idle and next(passes) == nth
        if hit and side == "before":
            _act(act, point)
        answer = await real(self, *args, **kwargs)
        if hit and side == "after":
            _act(act, point)
        return answer

    setattr(owner, method, passed)


def jump(jumps: list[tuple[float, float]]) -> None:
    """The worker's clock jumps by so many seconds, so many seconds after its start."""
    began_s, real = time.monotonic(), stream.app.wall_clock_ms

    def clock() -> int:
        past_s = time.monotonic() - began_s
        return real() + round(1000 * sum(by for after, by in jumps if past_s >= after))

    stream.app.Worker = functools.partial(stream.app.Worker, clock=clock)  # type: ignore[misc, assignment]


def fail_commits(until_s: float) -> None:
    """Commits of offsets fail until that time of day: refused, taken but unanswered, and for no known reason."""
    real, turns = GroupCoordinator._do_commit_offsets, itertools.cycle(COMMIT_FAULTS)

    @functools.wraps(real)
    async def commit(self: Any, assignment: Any, offsets: Any) -> None:
        is_taken, error = (True, None) if time.time() > until_s else next(turns)
        if is_taken:
            await real(self, assignment, offsets)
        if error is not None:
            log.warning("offset_commit_fails", error=error.__name__)
            raise error

    GroupCoordinator._do_commit_offsets = commit


def main() -> None:
    """Spoils as told, then runs the worker."""
    spoil = json.loads(os.environ["FAULTS_SPOIL"])
    doings: dict[str, Callable[[Any], None]] = {
        "point": lambda point: arm(point, spoil.get("pass", 1), spoil.get("act", "exit")),
        "mutant": lambda name: mutants.MUTANTS[name](),
        "clock_jumps_s": jump,
        "commits_fail_until_s": fail_commits,
    }
    for what in spoil.keys() & doings.keys():
        doings[what](spoil[what])
    stream.app.main()


if __name__ == "__main__":
    main()
