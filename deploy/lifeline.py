"""A lifeline: processes started through it die with this process, however it dies (also by kill -9).

A tiny watcher process reads a pipe whose only writer is us. Each child announces itself on that pipe before it becomes
the program it was meant to be; when the pipe ends because we are gone, the watcher kills every group still announced.
It needs nothing of one operating system, and unlike PR_SET_PDEATHSIG it does not care which thread started the child.
Children are groups of our session and not sessions of their own: Linux shares cores between sessions first (autogroup),
so that in one of its own an embedder would take as much as a worker, however nice it is.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

_WATCH = """
import os, signal, sys
alive = set()
for line in sys.stdin:
    (alive.add if line[0] == "+" else alive.discard)(int(line[1:]))
for group in alive:
    try:
        os.killpg(group, signal.SIGKILL)
    except (ProcessLookupError, PermissionError):
        pass
"""
_ANNOUNCE = 'echo "+$$" >&0; exec "$@" </dev/null'


class Lifeline:
    """Starts child processes, each the leader of its own group, that cannot outlive this process."""

    def __init__(self) -> None:
        read_end, self._write_end = os.pipe()
        with os.fdopen(read_end) as read_file:
            self._watcher = subprocess.Popen(
                [sys.executable, "-I", "-S", "-c", _WATCH],
                stdin=read_file,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                start_new_session=True,
            )

    def start(self, argv: Sequence[str], env: Mapping[str, str], log: Path) -> subprocess.Popen[bytes]:
        """Starts `argv` with exactly the environment `env`; stdout and stderr are appended to `log`."""
        with log.open("ab") as output:
            return subprocess.Popen(
                ["/bin/sh", "-c", _ANNOUNCE, "sh", *argv],
                env=dict(env),
                stdin=self._write_end,
                stdout=output,
                stderr=subprocess.STDOUT,
                process_group=0,
            )

    def forget(self, pid: int) -> None:
        """Takes a child that has been waited for off the watcher's list, before its number is used again."""
        os.write(self._write_end, f"-{pid}\n".encode())

    def close(self) -> None:
        """Kills what is still announced and ends the watcher."""
        if self._watcher.returncode is None:
            os.close(self._write_end)
            self._watcher.wait()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()
