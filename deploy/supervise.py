"""Child processes by name: started, watched, restarted with backoff, stopped in order; they die with their parent."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Literal, Self

from deploy.lifeline import Lifeline

POLL_S = 0.05
BACKOFF_FIRST_S = 0.2
BACKOFF_MAX_S = 10.0
HEALTHY_AFTER_S = 20.0
TAIL_LINES = 25

EventKind = Literal["started", "ready", "died", "restarted", "stopped", "killed"]
Listener = Callable[[str, EventKind, str], None]


class ChildFailed(RuntimeError):
    """A child died before it was ready, or was not ready in time."""


@dataclass(frozen=True, slots=True)
class Child:
    """What to run. `ready` is a URL that answers 200, or a probe that says so; `env` is added to this process's own."""

    name: str
    argv: tuple[str, ...]
    env: Mapping[str, str] = field(default_factory=dict)
    ready: str | Callable[[], bool] | None = None
    restart: bool = True
    start_deadline_s: float = 60.0
    stop_deadline_s: float = 10.0

    def is_ready(self) -> bool:
        """Whether the child answers now."""
        if self.ready is None:
            return True
        return answers(self.ready) if isinstance(self.ready, str) else self.ready()


@dataclass(slots=True)
class _Running:
    child: Child
    process: subprocess.Popen[bytes]
    started_s: float
    restarts: int = 0
    backoff_s: float = BACKOFF_FIRST_S
    restart_at_s: float | None = None
    is_stopping: bool = False


class Supervisor:
    """Keeps named children running. `listener(name, event, detail)` is told what happens, from the watching thread.

    >>> with Supervisor(Path("/tmp")) as supervisor:
    ...     supervisor.start(Child("sleeper", ("sleep", "60")))
    ...     supervisor.is_alive("sleeper")
    True
    """

    def __init__(self, log_dir: Path, listener: Listener = lambda *_: None) -> None:
        self._log_dir = log_dir
        self._listener = listener
        self._running: dict[str, _Running] = {}
        self._lock = threading.RLock()
        self._is_closed = threading.Event()
        log_dir.mkdir(parents=True, exist_ok=True)
        self._lifeline = Lifeline()
        self._thread = threading.Thread(target=self._watch, name="supervisor", daemon=True)
        self._thread.start()

    def start(self, child: Child, *, wait: bool = True) -> None:
        """Starts a child and, by default, waits until it is ready. Raises `ChildFailed` with the end of its log."""
        with self._lock:
            if child.name in self._running:
                raise ValueError(f"{child.name!r} is already supervised; stop it first, or choose another name")
            self._running[child.name] = _Running(child, self._spawn(child), time.monotonic())
        self._listener(child.name, "started", f"pid {self.pid(child.name)}")
        if wait:
            self.wait_ready(child.name)

    def wait_ready(self, name: str) -> None:
        """Waits until the child answers; a child that may restart gets until its deadline, another fails at once."""
        running = self._running[name]
        child = running.child
        deadline = time.monotonic() + child.start_deadline_s
        while not (running.process.poll() is None and child.is_ready()):
            if running.process.poll() is not None and not child.restart:
                raise ChildFailed(f"{name} ended with code {running.process.returncode} {self._log_says(name)}")
            if time.monotonic() > deadline:
                raise ChildFailed(f"{name} was not ready within {child.start_deadline_s:.0f} s {self._log_says(name)}")
            time.sleep(POLL_S)
        self._listener(name, "ready", f"after {time.monotonic() - running.started_s:.1f} s")

    def pid(self, name: str) -> int:
        """The child's process id now; another one after a restart."""
        return self._running[name].process.pid

    def is_alive(self, name: str) -> bool:
        """Whether the child's process runs now."""
        return self._running[name].process.poll() is None

    def restarts(self, name: str) -> int:
        """How often the child was restarted."""
        return self._running[name].restarts

    def names(self) -> tuple[str, ...]:
        """The children in the order they were started."""
        return tuple(self._running)

    def log_path(self, name: str) -> Path:
        """The file that holds the child's output, over all its restarts."""
        return self._log_dir / f"{name}.log"

    def log_tail(self, name: str, lines: int = TAIL_LINES) -> str:
        """The end of the child's output."""
        path = self.log_path(name)
        return "\n".join(path.read_text(errors="replace").splitlines()[-lines:]) if path.exists() else ""

    def kill(self, name: str) -> int:
        """Kills the child with SIGKILL, as an experiment: it is restarted like any that died. Returns the pid."""
        pid = self.pid(name)
        os.killpg(pid, signal.SIGKILL)
        return pid

    def stop(self, name: str) -> int:
        """Stops one child: SIGTERM, then SIGKILL after its deadline. Returns its exit code (negative: a signal)."""
        with self._lock:
            running = self._running[name]
            running.is_stopping = True
        process = running.process
        event: EventKind = "stopped"
        _signal_group(process, signal.SIGTERM)
        try:
            process.wait(running.child.stop_deadline_s)
        except subprocess.TimeoutExpired:
            event = "killed"
        _signal_group(process, signal.SIGKILL)  # also what the child itself may have left behind in its group
        code = process.wait()
        with self._lock:
            self._lifeline.forget(process.pid)
            self._running.pop(name, None)
        self._listener(name, event, f"code {code}")
        return code

    def stop_all(self) -> dict[str, int]:
        """Stops every child, the last started first. Returns the exit codes."""
        return {name: self.stop(name) for name in reversed(self.names())}

    def close(self) -> None:
        """Stops every child and the watching thread."""
        try:
            self.stop_all()
        finally:
            self._is_closed.set()
            self._thread.join()
            self._lifeline.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()

    def _spawn(self, child: Child) -> subprocess.Popen[bytes]:
        return self._lifeline.start(child.argv, {**os.environ, **child.env}, self.log_path(child.name))

    def _log_says(self, name: str) -> str:
        return f"(log: {self.log_path(name)}); its last lines were:\n{self.log_tail(name)}"

    def _watch(self) -> None:
        while not self._is_closed.wait(POLL_S):
            with self._lock:
                events = [event for running in self._running.values() for event in self._look_after(running)]
            for event in events:
                self._listener(*event)

    def _look_after(self, running: _Running) -> list[tuple[str, EventKind, str]]:
        """One look at one child: notes a death, and restarts it when its backoff is over."""
        now_s, child = time.monotonic(), running.child
        if running.is_stopping or not child.restart or running.process.poll() is None:
            return []
        if running.restart_at_s is None:
            _signal_group(running.process, signal.SIGKILL)
            self._lifeline.forget(running.process.pid)
            if now_s - running.started_s > HEALTHY_AFTER_S:
                running.backoff_s = BACKOFF_FIRST_S
            running.restart_at_s = now_s + running.backoff_s
            running.backoff_s = min(2 * running.backoff_s, BACKOFF_MAX_S)
            return [(child.name, "died", f"code {running.process.returncode}")]
        if now_s < running.restart_at_s:
            return []
        running.process, running.started_s, running.restart_at_s = self._spawn(child), now_s, None
        running.restarts += 1
        return [(child.name, "restarted", f"pid {running.process.pid}")]


def answers(url: str, timeout_s: float = 1.0) -> bool:
    """Whether an HTTP GET of `url` is answered with 200 within `timeout_s`."""
    try:
        with urllib.request.urlopen(url, timeout=timeout_s) as response:  # noqa: S310 - our own loopback addresses
            return bool(response.status == 200)
    except (OSError, urllib.error.URLError):
        return False


def _signal_group(process: subprocess.Popen[bytes], number: signal.Signals) -> None:
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, number)
