"""Everything on one machine: Kafka, Valkey, a released model, and the three roles as supervised processes."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Self

from deploy.embedded import Embedded
from deploy.ports import free_port
from deploy.publishing import publish_knowledge, release
from deploy.supervise import Child, Listener
from features.knowledge import load
from features.settings import WITHOUT_SECURITY, Connections
from stream import topics

PARTITIONS = 4
LOW_PRIORITY = ("nice", "-n", "10")
"""The near-line role yields to the event path on a shared machine."""
ONE_THREAD = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}
"""Several roles share the cores, and a ranker of this size is fastest on one thread (platform.md 6)."""

Say = Callable[[str], None]


@dataclass(slots=True)
class Stack:
    """The running system. `folder` None: temporary data; else data and ports survive. `env` is given to every role."""

    cache: Path
    folder: Path | None = None
    http_port: int = 0
    env: Mapping[str, str] = field(default_factory=dict)
    listener: Listener = lambda *_: None
    say: Say = lambda _: None
    _services: Embedded | None = None
    _registry: Path | None = None

    def start(self, model: Callable[[Connections], str]) -> Self:
        """Services, topics, knowledge base, model release, roles; returns when prompts can flow.

        `model` puts the bundle to serve into the registry and returns its version. The embedder takes longer to load
        and is not waited for: until it is there, the ranker uses the null query.
        """
        self._services = Embedded(self.cache, restart=True, listener=self.listener)
        try:
            self._services.start(data_dir=self.folder)
            self._registry = (self.folder or self.services.supervisor.log_path("kafka").parent.parent) / "registry"
            self.say(f"Apache Kafka at {self.services.kafka_url}, Valkey at {self.services.redis_url}")
            self._seed(model)
            self._start_roles()
        except BaseException:
            self.stop()
            raise
        return self

    @property
    def services(self) -> Embedded:
        """The broker and the store. Raises RuntimeError before `start`."""
        if self._services is None:
            raise RuntimeError("the stack is not running; call start() first")
        return self._services

    @property
    def connections(self) -> Connections:
        """The addresses of this stack's services."""
        return Connections(
            **WITHOUT_SECURITY,
            kafka_url=self.services.kafka_url,
            redis_url=self.services.redis_url,
            cache=self.cache,
            registry=self._registry or Connections().registry,
        )

    @property
    def url(self) -> str:
        """Where the gateway and its page answer."""
        return f"http://127.0.0.1:{self.http_port}"

    def wait_for_embedder(self) -> None:
        """Returns when latent queries are answered. Raises `ChildFailed`."""
        self.services.supervisor.wait_ready("embedder")

    def kill(self, part: str) -> int:
        """Kills a part with SIGKILL: "worker", "embedder", "gateway", "kafka" or "redis". Returns its pid."""
        return self.services.supervisor.kill(part)

    def stop(self) -> None:
        """Stops the roles, then the services."""
        if self._services is not None:
            self._services.stop()
            self._services = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.stop()

    def _seed(self, model: Callable[[Connections], str]) -> None:
        connections = self.connections
        topics.create(connections, PARTITIONS)
        kb = load()
        changed = publish_knowledge(connections, kb)
        self.say(f"knowledge base {kb.version}: {len(kb.intents)} intents, {changed} published")
        version = model(connections)
        release(connections, version, note="first release", wait_s=0)
        self.say(f"model {version} released")

    def _start_roles(self) -> None:
        self.http_port = self.http_port or free_port()
        health = {name: free_port() for name in ("worker", "embedder")}
        roles = [
            self._role("gateway", {"RGALIGN_HTTP_PORT": str(self.http_port)}, f"{self.url}/readyz"),
            *(
                self._role(name, {"RGALIGN_HEALTH_PORT": str(port)}, f"http://127.0.0.1:{port}/readyz")
                for name, port in health.items()
            ),
        ]
        if self.folder is not None:  # a tile of intent statistics closes after 15 minutes: not within a demo
            roles.append(self._job("statistics", "features", "stats", "--every", "60"))
        for role in roles:
            self.services.supervisor.start(role, wait=False)
        for name in ("gateway", "worker"):
            self.services.supervisor.wait_ready(name)

    def _role(self, name: str, env: Mapping[str, str], ready: str) -> Child:
        return Child(
            name,
            (*(LOW_PRIORITY if name == "embedder" else ()), sys.executable, "-m", "deploy.cli", name),
            env={**self._environment(), **env, **self.env},
            ready=ready,
            start_deadline_s=120,
            stop_deadline_s=15,
        )

    def _job(self, name: str, *command: str) -> Child:
        return Child(name, (*LOW_PRIORITY, sys.executable, "-m", "deploy.cli", *command), env=self._environment())

    def _environment(self) -> dict[str, str]:
        return {**ONE_THREAD, **self.connections.environment()}
