"""The command line answers at once and teaches by example."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import pytest
import typer

from deploy.cli import app

HEAVY = ("torch", "transformers", "feast", "faust", "onnxruntime", "kafka", "redis", "pandas", "numpy", "fastapi")
EXPECTED = {
    "demo", "dev", "topics", "worker", "embedder", "gateway", "kb", "simulate", "replay", "train", "recalibrate",
    "release", "evaluate", "doctor", "features", "reasoner",
}  # fmt: skip


def _commands(group: Any, path: str = "rgalign") -> Iterator[tuple[str, Any]]:
    for name, command in group.commands.items():
        if hasattr(command, "commands"):
            yield from _commands(command, f"{path} {name}")
        else:
            yield f"{path} {name}", command


ROOT: Any = typer.main.get_command(app)
COMMANDS = dict(_commands(ROOT))


def test_every_promised_command_is_there():
    assert set(ROOT.commands) == EXPECTED


@pytest.mark.parametrize("path", COMMANDS)
def test_each_help_has_an_example(path: str):
    assert "Example: `" in (COMMANDS[path].help or ""), f"{path} --help shows no example"


def test_help_loads_nothing_heavy():
    script = (
        "import sys, deploy.cli\n"
        f"heavy = [name for name in {HEAVY} if name in sys.modules]\n"
        "sys.exit(f'--help loads {heavy}' if heavy else 0)"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr


def test_an_unreachable_broker_is_one_line_with_the_next_step():
    done = subprocess.run(
        [sys.executable, "-m", "deploy.cli", "topics", "list"],
        check=False, capture_output=True, text=True, timeout=60, env={"KAFKA_URL": "127.0.0.1:1", "PATH": "/usr/bin"},
    )  # fmt: skip
    assert done.returncode == 1
    assert "Traceback" not in done.stderr
    assert "rgalign dev up" in done.stderr
