"""`rgalign dev`: a stack that keeps running behind the terminal, found again through `.dev/stack.json`."""

from __future__ import annotations

import json
import os
import shlex
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

from deploy.screen import console, progress
from deploy.stack import Stack
from features.settings import Connections

FOLDER = Path(".dev")
STATE = FOLDER / "stack.json"
START_DEADLINE_S = 300
STOP_DEADLINE_S = 60


def up(port: int) -> int:
    """Builds what is missing, starts the stack in the background and waits until it is ready."""
    from deploy.model_zero import prepare

    screen = console()
    if (running := _running()) is not None:
        screen.print(f"already running at {running['url']}; stop it with `rgalign dev down`")
        return 0
    with progress(screen) as advance:
        prepare(Connections().cache, progress=advance)
    FOLDER.mkdir(exist_ok=True)
    STATE.unlink(missing_ok=True)
    with (FOLDER / "stack.log").open("ab") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "deploy.background", str(port)],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
    return _wait(process)


def _wait(process: subprocess.Popen[bytes]) -> int:
    deadline = time.monotonic() + START_DEADLINE_S
    while (running := _running()) is None:
        if process.poll() is not None or time.monotonic() > deadline:
            console().print(f"[red]the stack did not start[/red]; see {FOLDER / 'stack.log'}")
            return 1
        time.sleep(0.2)
    console().print(f"ready: the page is at {running['url']}; stop with `rgalign dev down`")
    return 0


def down() -> int:
    """Stops the background stack; its data stays in `.dev`."""
    running = _running()
    if running is None:
        console().print("nothing is running; start it with `rgalign dev up`")
        return 0
    pid = int(running["pid"])
    os.kill(pid, signal.SIGTERM)
    deadline = time.monotonic() + STOP_DEADLINE_S
    while _is_alive(pid):
        if time.monotonic() > deadline:
            console().print(f"[red]process {pid} did not stop in {STOP_DEADLINE_S} s[/red]; see {FOLDER / 'stack.log'}")
            return 1
        time.sleep(0.1)
    STATE.unlink(missing_ok=True)
    console().print("stopped")
    return 0


def status(*, as_exports: bool) -> int:
    """Where everything is, as text or as shell exports; 1 when nothing runs."""
    running = _running()
    if running is None:
        sys.stderr.write("nothing is running; start it with `rgalign dev up`\n")
        return 1
    exports = running["environment"]
    if as_exports:
        sys.stdout.write("".join(f"export {name}={shlex.quote(where)}\n" for name, where in exports.items()))
        return 0
    for name, where in {"page": running["url"], "pid": running["pid"], **exports}.items():
        console().print(f"{name:<18}{where}")
    return 0


def serve(port: int) -> None:
    """The background process: runs the stack until SIGTERM."""
    from deploy.model_zero import ensure_model_zero

    stopped = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stopped.set())
    stack = Stack(Connections().cache, folder=FOLDER.resolve(), http_port=port)
    with stack.start(lambda connections: ensure_model_zero(connections).version):
        told = {"pid": os.getpid(), "url": stack.url, "environment": stack.connections.environment()}
        partial = STATE.with_suffix(".part")
        partial.write_text(json.dumps(told))
        partial.replace(STATE)
        stopped.wait()
    STATE.unlink(missing_ok=True)


def _running() -> dict[str, Any] | None:
    try:
        told: dict[str, Any] = json.loads(STATE.read_text())
    except FileNotFoundError:
        return None
    return told if _is_alive(int(told["pid"])) else None


def _is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


if __name__ == "__main__":
    serve(int(sys.argv[1]))
