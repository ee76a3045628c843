"""Apache Kafka and Valkey on free loopback ports of this machine: no Docker, no JDK, no apt; they die with us."""

from __future__ import annotations

import contextlib
import shutil
import subprocess
import tempfile
import uuid
from base64 import urlsafe_b64encode
from pathlib import Path
from types import TracebackType
from typing import Self

from deploy.jars import Progress, ensure_jars
from deploy.ports import LOOPBACK, ports_of
from deploy.probes import kafka_answers, redis_answers
from deploy.runtimes import find_java, find_redis
from deploy.supervise import Child, Listener, Supervisor
from features.settings import Connections

HEAP = ("-Xms64m", "-Xmx256m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1")
FORMAT_DEADLINE_S = 120
SERVER_PROPERTIES = """\
process.roles=broker,controller
node.id=1
listeners=PLAINTEXT://127.0.0.1:{port},CONTROLLER://127.0.0.1:{controller}
advertised.listeners=PLAINTEXT://127.0.0.1:{port},CONTROLLER://127.0.0.1:{controller}
listener.security.protocol.map=PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT
controller.listener.names=CONTROLLER
controller.quorum.voters=1@127.0.0.1:{controller}
log.dirs={logs}
auto.create.topics.enable=false
offsets.topic.num.partitions=4
offsets.topic.replication.factor=1
transaction.state.log.num.partitions=4
transaction.state.log.replication.factor=1
transaction.state.log.min.isr=1
share.coordinator.state.topic.num.partitions=1
share.coordinator.state.topic.replication.factor=1
share.coordinator.state.topic.min.isr=1
group.initial.rebalance.delay.ms=0
group.min.session.timeout.ms=1000
broker.heartbeat.interval.ms=500
broker.session.timeout.ms=3000
log.index.size.max.bytes=1048576
log.cleaner.dedupe.buffer.size=16777216
num.network.threads=2
num.io.threads=4
"""


class FormatFailed(RuntimeError):
    """Kafka's storage tool refused to format a data folder."""


class Embedded:
    """Real services for a demo, a developer or a test.

    With `data_dir` the data and the ports survive; without, both are gone after `stop`. With `restart` a service that
    dies is started again on the same port and data.

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

    def start(
        self,
        *,
        kafka: bool = True,
        redis: bool = True,
        data_dir: Path | None = None,
        progress: Progress = lambda *_: None,
    ) -> Self:
        """Starts what is asked for and returns when it answers; fetches the broker's jars if they are not there."""
        if data_dir is None:
            self._temporary = data_dir = Path(tempfile.mkdtemp(prefix="rgalign-"))
        data_dir.mkdir(parents=True, exist_ok=True)
        self._ports = ports_of(data_dir)
        self._supervisor = Supervisor(data_dir / "logs", self._listener)
        try:
            children = []
            if redis:
                children.append(self._redis(data_dir / "redis"))
            if kafka:
                children.append(self._kafka(data_dir / "kafka", progress))
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
        """The bootstrap server, host:port."""
        return f"{LOOPBACK}:{self._ports['kafka']}"

    @property
    def redis_url(self) -> str:
        """redis://host:port/0."""
        return f"redis://{LOOPBACK}:{self._ports['redis']}/0"

    @property
    def supervisor(self) -> Supervisor:
        """The children "kafka" and "redis": their pids, logs and restarts. Raises RuntimeError before `start`."""
        if self._supervisor is None:
            raise RuntimeError("the embedded services are not running; call start() first")
        return self._supervisor

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

    def _kafka(self, home: Path, progress: Progress) -> Child:
        port = self._ports["kafka"]
        argv = kafka_command(ensure_jars(self._cache, progress), home, port, self._ports["controller"])
        return Child("kafka", argv, ready=lambda: kafka_answers(LOOPBACK, port), restart=self._restart)

    def _redis(self, home: Path) -> Child:
        port = self._ports["redis"]
        argv = redis_command(home, port, is_persistent=self._temporary is None)
        return Child("redis", argv, ready=lambda: redis_answers(LOOPBACK, port), restart=self._restart)


def kafka_command(jars: Path, home: Path, port: int, controller_port: int) -> tuple[str, ...]:
    """The broker's command line, to be run any number of times; writes its settings and formats `home` once."""
    home.mkdir(parents=True, exist_ok=True)
    settings = home / "server.properties"
    logs = home / "logs"
    settings.write_text(SERVER_PROPERTIES.format(port=port, controller=controller_port, logs=logs))
    java = (
        str(find_java()),
        *HEAP,
        "-Dorg.slf4j.simpleLogger.defaultLogLevel=warn",
        "-Dorg.slf4j.simpleLogger.showDateTime=true",
        "-cp",
        str(jars / "*"),
    )
    _format(logs, jars, java)
    return (*java, "kafka.Kafka", str(settings))


def redis_command(home: Path, port: int, *, is_persistent: bool) -> tuple[str, ...]:
    """The store's command line. Persistent: an append-only file, flushed every second; else nothing on disk."""
    home.mkdir(parents=True, exist_ok=True)
    kept = ("yes", "--appendfsync", "everysec") if is_persistent else ("no",)
    where = ("--bind", LOOPBACK, "--port", str(port), "--dir", str(home))
    return (str(find_redis()), *where, "--save", "", "--appendonly", *kept)


def _format(logs: Path, jars: Path, java: tuple[str, ...]) -> None:
    """Formats an empty folder for a static quorum of one: a marker with new ids, and the feature levels.

    The feature levels are the same for every folder, so Kafka's tool (two seconds of Java) makes them once.
    """
    marker = logs / "meta.properties"
    if marker.exists():
        return
    formatted = jars / "formatted"
    if not formatted.exists():
        _make_formatted(formatted, java)
    shutil.copytree(formatted, logs, dirs_exist_ok=True)
    marker.write_text(f"version=1\nnode.id=1\ncluster.id={_kafka_uuid()}\ndirectory.id={_kafka_uuid()}\n")


def _make_formatted(target: Path, java: tuple[str, ...]) -> None:
    with tempfile.TemporaryDirectory(dir=target.parent, prefix=".format-") as temporary:
        settings, logs = Path(temporary, "server.properties"), Path(temporary, "logs")
        settings.write_text(SERVER_PROPERTIES.format(port=1, controller=2, logs=logs))
        tool = (*java, "kafka.tools.StorageTool", "format", "-t", _kafka_uuid(), "-c", str(settings))
        done = subprocess.run(tool, capture_output=True, text=True, timeout=FORMAT_DEADLINE_S, check=False)
        if done.returncode != 0:
            raise FormatFailed(f"Kafka's storage tool ended with code {done.returncode}:\n{done.stdout}{done.stderr}")
        with contextlib.suppress(OSError):  # another process was first
            logs.rename(target)


def _kafka_uuid() -> str:
    """22 letters of URL-safe base 64, not led by a dash, which Kafka's own tools do not make either."""
    return "A" + urlsafe_b64encode(uuid.uuid4().bytes).decode().rstrip("=")[1:]
