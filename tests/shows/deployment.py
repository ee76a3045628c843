"""A whole deployment under a prefix of its own: the real roles as processes, on the session's Kafka and Valkey."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Self

import httpx

from deploy.accounting import Books, close, read_log
from deploy.log_reader import whole_topic
from deploy.model_zero import ensure_model_zero
from deploy.ports import free_port
from deploy.publishing import publish_knowledge, release
from deploy.supervise import Child, Supervisor
from features import knowledge
from features.contract import parse
from features.decisions import Decision
from features.settings import Connections
from stream import topics
from tests.stream import stage

ROOT = Path(__file__).parents[2]


class Deployment:
    """Topics, the knowledge base, model v0 and any of the roles, told everything by settings alone."""

    def __init__(self, connections: Connections, logs: Path) -> None:
        self.connections = connections
        self.supervisor = Supervisor(logs)
        self.model = ""
        self._ports: dict[str, int] = {}

    def seed(self) -> Self:
        topics.create(self.connections, partitions=4)
        publish_knowledge(self.connections, knowledge.load())
        self.model = ensure_model_zero(self.connections).version
        release(self.connections, self.model, wait_s=0)
        return self

    def start(self, *roles: str) -> Self:
        for role in roles:
            self._ports[role] = free_port()
            port = "RGALIGN_HTTP_PORT" if role == "gateway" else "RGALIGN_HEALTH_PORT"
            env = {
                **self.connections.environment(),
                port: str(self._ports[role]),
                "OMP_NUM_THREADS": "1",
                "PYTHONPATH": str(ROOT),
            }
            argv = (sys.executable, "-m", "deploy.cli", role)
            ready = f"{self.url(role)}/readyz"
            self.supervisor.start(Child(role, argv, env, ready, start_deadline_s=120), wait=False)
        for role in roles:
            self.supervisor.wait_ready(role)
        return self

    def stop(self, role: str) -> None:
        self.supervisor.stop(role)

    def url(self, role: str = "gateway") -> str:
        return f"http://127.0.0.1:{self._ports[role]}"

    def state(self) -> dict[str, tuple[int, int, int]]:
        """For each role its pid, how often it was restarted, and what /livez answers."""
        of = self.supervisor
        return {
            role: (of.pid(role), of.restarts(role), httpx.get(f"{self.url(role)}/livez").status_code)
            for role in of.names()
        }

    def metric(self, role: str, name: str) -> float:
        """A sample of a role's metrics, 0 when it was never counted; `name` as on the page, with its labels."""
        lines = httpx.get(f"{self.url(role)}/metrics").text.splitlines()
        return sum(float(line.rpartition(" ")[2]) for line in lines if line.startswith(name))

    def post(self, *events: dict[str, Any]) -> list[str]:
        """Posts events to the gateway; the ids that it accepted."""
        answer = httpx.post(f"{self.url()}/v1/events", json={"events": events}, timeout=15)
        return [result["id"] for result in answer.raise_for_status().json()["results"]]

    def decided(self, event_ids: Iterable[str], timeout_s: float = 30) -> dict[str, Decision]:
        """The decisions over these triggers, by trigger, once all are made."""
        wanted = set(event_ids)
        deadline_s = time.monotonic() + timeout_s
        while True:
            made = (parse(Decision, record.value) for record in whole_topic(self.connections, topics.DECISIONS.name))
            found = {decision.trigger_event: decision for decision in made if decision.trigger_event in wanted}
            if found.keys() == wanted:
                return found
            assert time.monotonic() < deadline_s, f"no decision over {sorted(wanted - found.keys())[:5]}"
            time.sleep(0.2)

    def books(self, acked: Iterable[str]) -> Books:
        """The account of the event topic, once the worker has read it to its end."""
        log = read_log(self.connections, topics.EVENTS.name)
        return close(log, stage.counted(self.connections, log.records), set(acked))

    def rgalign(self, *words: str) -> str:
        """What the command line says; it must exit 0."""
        env = {**os.environ, **self.connections.environment(), "PYTHONPATH": str(ROOT), "COLUMNS": "250"}
        argv = [sys.executable, "-m", "deploy.cli", *words]
        done = subprocess.run(argv, env=env, capture_output=True, text=True, timeout=60, check=False)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    def close(self) -> None:
        self.supervisor.close()
