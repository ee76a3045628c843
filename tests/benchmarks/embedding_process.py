"""An engine in a process of its own, from the caller's side: started, called one call at a time, ended."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self

ROOT = Path(__file__).parents[2]
LOG = Path(".out/bench-reasoner.log")
"""What the engines print."""


class EngineFailed(RuntimeError):
    """An engine's process ended, or could not begin."""


class EmbeddingProcess:
    """Runs `embedding_script` with an interpreter that has the engine; one thread by default."""

    def __init__(self, name: str, told: Mapping[str, Any], python: Path | None = None, threads: int = 1) -> None:
        self.name = name
        LOG.parent.mkdir(exist_ok=True)
        env = {**os.environ, "OMP_NUM_THREADS": str(threads), "HF_HUB_OFFLINE": "1", "TOKENIZERS_PARALLELISM": "false"}
        argv = [str(python or sys.executable), "-W", "ignore", "-m", "tests.benchmarks.embedding_script"]
        with LOG.open("ab") as log:
            self._process = subprocess.Popen(
                [*argv, json.dumps(told)], cwd=ROOT, env=env, text=True,
                stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=log,
            )  # fmt: skip
        self._provider: str | None = None

    @property
    def provider(self) -> str:
        """What really runs the model. Waits until it is loaded; raises `EngineFailed`."""
        if self._provider is None:
            self._provider = str(self._answer()["provider"])
        return self._provider

    def call(self, texts: Sequence[str], batch: int, keep: Path | None = None) -> tuple[float, float]:
        """(wall seconds, CPU seconds) of embedding the texts; their vectors go to the file `keep`."""
        assert self.provider
        self._send({"texts": list(texts), "batch": batch, "keep": None if keep is None else str(keep)})
        took = self._answer()
        return float(took["wall_s"]), float(took["cpu_s"])

    def _send(self, call: Mapping[str, Any]) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps(call) + "\n")
        self._process.stdin.flush()

    def _answer(self) -> dict[str, Any]:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            raise EngineFailed(f"{self.name} ended with code {self._process.wait()}: see {LOG}")
        return dict(json.loads(line))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._process.kill()
        self._process.communicate()
