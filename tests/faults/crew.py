"""Processes of workers and embedders by name: killed, paused, stopped, started again when they end by themselves."""

from __future__ import annotations

import os
import signal
import sys
import time
import urllib.request
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from subprocess import Popen, TimeoutExpired

from deploy.lifeline import Lifeline
from deploy.ports import free_port
from deploy.supervise import answers

ROOT = Path(__file__).parents[2]
READY_DEADLINE_S = 90.0
STOP_DEADLINE_S = 15.0
POLL_S = 0.05
RESTART_AFTER_S = 0.2


@dataclass(slots=True)
class Member:
    """One worker or embedder: the module and settings it is started with and its process now."""

    name: str
    module: str
    settings: Mapping[str, str]
    process: Popen[bytes]
    health_port: int
    is_wanted: bool = True


class Crew:
    """The workers of one trial; they die with this process. `env` is given to each beside its own settings."""

    def __init__(self, env: Mapping[str, str], logs: Path) -> None:
        self.env = {**os.environ, **env, "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
        self._logs = logs
        self._members: dict[str, Member] = {}
        self._ended: list[int] = []
        self._lifeline = Lifeline()
        logs.mkdir(parents=True, exist_ok=True)

    def start(self, name: str, *, wait: bool = True, module: str = "stream.app", **settings: str) -> None:
        """Starts a worker and, by default, waits until it has partitions. `settings` are environment variables.

        Another `module` is another role.
        """
        port = free_port()
        self._members[name] = Member(name, module, settings, self._spawn(name, module, settings, port), port)
        if wait:
            self.wait_ready(name)

    def _spawn(self, name: str, module: str, settings: Mapping[str, str], port: int) -> Popen[bytes]:
        env = {**self.env, "PYTHONPATH": str(ROOT), "RGALIGN_HEALTH_PORT": str(port), **settings}
        is_spoiled_worker = "FAULTS_SPOIL" in settings and module == "stream.app"
        argv = (sys.executable, "-m", "tests.faults.worker" if is_spoiled_worker else module)
        return self._lifeline.start(argv, env, self.log(name))

    def log(self, name: str) -> Path:
        """The file with all that a worker of this name said."""
        return self._logs / f"{name}.log"

    def said(self, text: str) -> int:
        """How many log lines of all workers hold `text`."""
        logs = self._logs.glob("*.log")
        return sum(line.count(text) > 0 for log in logs for line in log.read_text(errors="replace").splitlines())

    def pid(self, name: str) -> int:
        """The worker's process now."""
        return self._members[name].process.pid

    def is_ready(self, name: str) -> bool:
        """Whether a worker says that it can decide: it has partitions, a model and a knowledge base."""
        return answers(f"http://127.0.0.1:{self._members[name].health_port}/readyz", timeout_s=0.5)

    def has(self, name: str) -> bool:
        """Whether one of this name was started."""
        return name in self._members

    def metric(self, name: str, *parts: str) -> float:
        """The sum of the samples of one's metrics whose lines begin with the first of `parts` and hold the others."""
        url = f"http://127.0.0.1:{self._members[name].health_port}/metrics"
        try:
            with urllib.request.urlopen(url, timeout=2) as page:
                lines = page.read().decode().splitlines()
        except OSError:
            return 0.0
        wanted = [line for line in lines if line.startswith(parts[0]) and all(part in line for part in parts)]
        return sum(float(line.rpartition(" ")[2]) for line in wanted)

    def wait_ready(self, name: str, deadline_s: float = READY_DEADLINE_S) -> None:
        """Waits for `is_ready`, starting again whoever ends by himself."""
        self.until(lambda: self.is_ready(name), deadline_s, f"{name} is not ready: see {self.log(name)}")

    def until(self, happens: Callable[[], bool], deadline_s: float, otherwise: str) -> None:
        """Looks after the crew until something happens. Raises TimeoutError."""
        give_up_s = time.monotonic() + deadline_s
        while not happens():
            if time.monotonic() > give_up_s:
                raise TimeoutError(f"after {deadline_s:.0f} s {otherwise}")
            self.tend()
            time.sleep(POLL_S)

    def wait(self, seconds: float) -> None:
        """Lets time pass, looking after the crew."""
        over_s = time.monotonic() + seconds
        while (left_s := over_s - time.monotonic()) > 0:
            self.tend()
            time.sleep(min(left_s, POLL_S))

    def tend(self) -> None:
        """Starts again, without its spoiling, whoever ended by himself."""
        for member in self._members.values():
            if member.is_wanted and (code := member.process.poll()) is not None:
                self._lifeline.forget(member.process.pid)
                self._ended.append(code)
                time.sleep(RESTART_AFTER_S)
                kept = {key: value for key, value in member.settings.items() if key != "FAULTS_SPOIL"}
                member.process = self._spawn(
                    member.name, member.module, kept if code == EXIT else member.settings, member.health_port
                )

    def ends(self) -> list[int]:
        """The exit codes of all workers that ended by themselves."""
        return list(self._ended)

    def kill(self, name: str, *, then_start: bool = False) -> None:
        """Kills a worker with SIGKILL."""
        member = self._members[name]
        member.process.kill()
        member.process.wait()
        self._lifeline.forget(member.process.pid)
        member.is_wanted = then_start
        if then_start:
            member.process = self._spawn(name, member.module, member.settings, member.health_port)

    def pause(self, name: str) -> None:
        """Stops a worker where it is (SIGSTOP): a long garbage collection, a frozen machine."""
        os.kill(self.pid(name), signal.SIGSTOP)

    def resume(self, name: str) -> None:
        """Lets a paused worker go on."""
        os.kill(self.pid(name), signal.SIGCONT)

    def is_paused(self, name: str) -> bool:
        """Whether a worker's process stands still, by whoever's hand."""
        return Path(f"/proc/{self.pid(name)}/stat").read_text().rpartition(")")[2].split()[0] == "T"

    def cpu_s(self, name: str) -> float:
        """CPU seconds that a worker's process has used."""
        user, system = Path(f"/proc/{self.pid(name)}/stat").read_text().rpartition(")")[2].split()[11:13]
        return (int(user) + int(system)) / os.sysconf("SC_CLK_TCK")

    def rss_mib(self, name: str) -> float:
        """Resident memory of a worker's process."""
        pages = int(Path(f"/proc/{self.pid(name)}/statm").read_text().split()[1])
        return pages * os.sysconf("SC_PAGE_SIZE") / 2**20

    def stop(self, name: str) -> int:
        """Ends a worker in order (SIGTERM), or by force after a deadline. Returns its exit code."""
        member = self._members[name]
        member.is_wanted = False
        member.process.terminate()
        try:
            code = member.process.wait(STOP_DEADLINE_S)
        except TimeoutExpired:
            member.process.kill()
            code = member.process.wait()
        self._lifeline.forget(member.process.pid)
        return code

    def close(self) -> None:
        """Kills everybody."""
        for member in self._members.values():
            member.is_wanted = False
            member.process.kill()
            member.process.wait()
        self._lifeline.close()


EXIT = 77
"""The code of a worker that ended at a failpoint."""
