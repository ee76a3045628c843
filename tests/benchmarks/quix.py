"""Quix Streams as an arm: its own environment, made once, and one process a block that goes on where the last ended."""

from __future__ import annotations

import functools
import json
import shutil
import subprocess
import sys
from pathlib import Path

from features.settings import Connections
from stream import topics
from tests.benchmarks.launching import ArmFailed, Task
from tests.benchmarks.meter import Block

VERSION = "3.28.1"
PACKAGES = (f"quixstreams=={VERSION}", "redis==8.1.0", "mmh3==5.3.1", "msgspec==0.22.0", "orjson==3.13.0")
INSTALL_DEADLINE_S = 180
DEADLINE_S = 120


@functools.cache
def interpreter() -> Path | None:
    """The Python that has Quix Streams, installed if it is not there; None where it cannot be."""
    home = Connections().cache / f"bench-quix-{VERSION}"
    python = home / "bin" / "python"
    if (home / "complete").exists():
        return python
    uv = Path(sys.executable).with_name("uv")
    try:
        for command in (["venv", "--clear", "--python", sys.executable, str(home)],
                        ["pip", "install", "--python", str(python), *PACKAGES]):  # fmt: skip
            subprocess.run([uv, "--quiet", *command], check=True, timeout=INSTALL_DEADLINE_S, capture_output=True)
    except (subprocess.SubprocessError, OSError):
        shutil.rmtree(home, ignore_errors=True)
        return None
    (home / "complete").touch()
    return python


def run(task: Task, state_dir: Path, *, is_durable: bool = True) -> Block:
    """One block. Raises `ArmFailed`. `task.group` must be the same for all blocks: Quix goes on from its commits."""
    python = interpreter()
    if python is None:
        raise ArmFailed("quixstreams is not installed")
    connections = task.connections
    told = {
        "arm": task.arm,
        "kafka_url": connections.kafka_url,
        "redis_url": connections.redis_url,
        "kafka_pid": task.services.kafka_pid,
        "topic": connections.named(topics.EVENTS.name),
        "group": task.group,
        "state_dir": str(state_dir),
        "warm": task.warm,
        "events": task.events,
        "is_durable": is_durable,
    }
    command = [str(python), "-W", "ignore", "-m", "tests.benchmarks.quix_script", json.dumps(told)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=DEADLINE_S, check=False)
    if done.returncode:
        raise ArmFailed(f"{task.arm}: {done.stderr[-3000:]}")
    return Block(**json.loads(done.stdout.splitlines()[-1]))
