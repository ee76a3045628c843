"""Apache Kafka and Valkey on free loopback ports of this machine: no Docker, no JDK, no apt; they die with us."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Self

from deploy.broker import broker_names, broker_ports, brokers_of, kafka_commands
from deploy.jars import Progress, ensure_jars
from deploy.ports import LOOPBACK, ports_of
from deploy.probes import kafka_answers, redis_answers
from deploy.runtimes import find_redis
from deploy.supervise import Child, Listener, Supervisor
from features.settings import Connections

ROW_FIELDS_AS_LIST = "32"
"""Online rows have some 50 fields: kept as a list (the default up to 128), each write of one searches it."""


class Embedded:
    """Real services for a demo, a developer or a test.

    With `data_dir` the data and the ports survive; without, both are gone after `stop`. With `restart` a service that
    dies is started again on the same port and data. With `brokers=3` Kafka is a cluster that survives one of them.

    >>> with Embedded().start(kafka=False) as services:
    ...     services.redis_url.startswith("redis://127.0.0.1:")
    True
    """

    def __init__(
        self, cache: Path | None = None, *, restart: bool = False, listener: Listener = lambda *_: None
    ) -> None:
        self._cache = cache or Connections().cache
        self._restart = restart
        self._listener = listener
        self._supervisor: Supervisor | None = None
        self._temporary: Path | None = None
        self._ports: dict[str, int] = {}
        self._brokers: Sequence[str] = ()
        self._children: dict[str, Child] = {}

    def start(
        self,
        *,
        kafka: bool = True,
        redis: bool = True,
        brokers: int = 1,
        data_dir: Path | None = None,
        progress: Progress = lambda *_: None,
    ) -> Self:
        """Starts what is asked for and returns when it answers; fetches the broker's jars if they are not there."""
        if data_dir is None:
            self._temporary = data_dir = Path(tempfile.mkdtemp(prefix="rgalign-"))
        data_dir.mkdir(parents=True, exist_ok=True)
        self._brokers = broker_names(brokers)
        self._ports = ports_of(data_dir, (*broker_ports(self._brokers), "redis"))
        self._supervisor = Supervisor(data_dir / "logs", self._listener)
        try:
            children = [self._redis(data_dir / "redis")] if redis else []
            if kafka:
                children += self._kafka(data_dir, progress)
            self._children = {child.name: child for child in children}
            for child in children:
                self._supervisor.start(child, wait=False)
            for child in children:
                self._supervisor.wait_ready(child.name)
        except BaseException:
            self.stop()
            raise
        return self

    @property
    def kafka_url(self) -> str:
        """The bootstrap servers, host:port[,host:port]."""
        return ",".join(f"{LOOPBACK}:{self._ports[name]}" for name in self._brokers)

    @property
    def redis_url(self) -> str:
        """redis://host:port/0."""
        return f"redis://{LOOPBACK}:{self._ports['redis']}/0"

    @property
    def supervisor(self) -> Supervisor:
        """The children "kafka" (or "kafka-1" to "kafka-3") and "redis". Raises RuntimeError before `start`."""
        if self._supervisor is None:
            raise RuntimeError("the embedded services are not running; call start() first")
        return self._supervisor

    def cut(self, name: str) -> None:
        """Kills a service with SIGKILL, as an experiment; it stays down until `revive`."""
        self.supervisor.kill(name)
        self.supervisor.stop(name)

    def revive(self, name: str, *, wait: bool = True) -> None:
        """Starts a service that was cut, on its port and data."""
        self.supervisor.start(self._children[name], wait=wait)

    def stop(self) -> None:
        """Stops the services; without a `data_dir` their data goes too. Stopping twice is harmless."""
        if self._supervisor is not None:
            self._supervisor.close()
            self._supervisor = None
        if self._temporary is not None:
            shutil.rmtree(self._temporary, ignore_errors=True)
            self._temporary = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.stop()

    def _kafka(self, data_dir: Path, progress: Progress) -> list[Child]:
        brokers = brokers_of(self._ports, self._brokers, data_dir)
        commands = kafka_commands(ensure_jars(self._cache, progress), brokers)
        return [
            Child(name, argv, ready=partial(kafka_answers, LOOPBACK, self._ports[name]), restart=self._restart)
            for name, argv in zip(self._brokers, commands, strict=True)
        ]

    def _redis(self, home: Path) -> Child:
        port = self._ports["redis"]
        argv = redis_command(home, port, is_persistent=self._temporary is None)
        return Child("redis", argv, ready=lambda: redis_answers(LOOPBACK, port), restart=self._restart)


def redis_command(home: Path, port: int, *, is_persistent: bool) -> tuple[str, ...]:
    """The store's command line. Persistent: an append-only file, flushed every second; else nothing on disk."""
    home.mkdir(parents=True, exist_ok=True)
    kept = ("yes", "--appendfsync", "everysec") if is_persistent else ("no",)
    where = ("--bind", LOOPBACK, "--port", str(port), "--dir", str(home))
    rows = ("--hash-max-listpack-entries", ROW_FIELDS_AS_LIST)
    return (str(find_redis()), *where, *rows, "--save", "", "--appendonly", *kept)
