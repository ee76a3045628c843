"""Free loopback ports, remembered by a data folder so that a service comes back where its clients look for it."""

from __future__ import annotations

import json
import random
import socket
from collections.abc import Sequence
from pathlib import Path

LOOPBACK = "127.0.0.1"
# Below every system's ephemeral range: a client that keeps dialling a dead broker there may connect to itself, and then
# the broker cannot have its port back.
PORTS = range(20_000, 32_000)


class DataInUse(RuntimeError):
    """Another process serves from this data folder."""


def free_port(taken: frozenset[int] = frozenset()) -> int:
    """A loopback port that nobody listens on, below the ephemeral range."""
    for port in random.SystemRandom().sample(PORTS, 200):
        if port not in taken and _is_free(port):
            return port
    raise OSError(f"no free port among 200 tried in {PORTS}: close programs that listen there")


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((LOOPBACK, port))
        except OSError:
            return False
        return True


def ports_of(data_dir: Path, names: Sequence[str]) -> dict[str, int]:
    """The ports of this data folder, the same ones each time. Raises `DataInUse` if somebody listens there."""
    path = data_dir / "ports.json"
    if path.exists():
        ports: dict[str, int] = json.loads(path.read_text())
        busy = [f"{name} {port}" for name, port in ports.items() if not _is_free(port)]
        if busy:
            raise DataInUse(
                f"{data_dir} is served on ports that are taken ({', '.join(busy)}): stop the services that run from "
                f"it (`rgalign dev down`), or choose another folder; if they are not ours, delete {path}"
            )
        return ports
    ports = {}
    for name in names:
        ports[name] = free_port(frozenset(ports.values()))
    path.write_text(json.dumps(ports))
    return ports
