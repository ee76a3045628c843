"""Apache Kafka as command lines: one broker, or several that vote together, each formatted once in its own folder."""

from __future__ import annotations

import contextlib
import shutil
import subprocess
import tempfile
import uuid
from base64 import urlsafe_b64encode
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from deploy.ports import LOOPBACK
from deploy.runtimes import find_java

HEAP = ("-Xms64m", "-Xmx256m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1")
FORMAT_DEADLINE_S = 120
SERVER_PROPERTIES = """\
process.roles=broker,controller
node.id={node}
listeners=PLAINTEXT://127.0.0.1:{port},CONTROLLER://127.0.0.1:{controller}
advertised.listeners=PLAINTEXT://127.0.0.1:{port},CONTROLLER://127.0.0.1:{controller}
listener.security.protocol.map=PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT
controller.listener.names=CONTROLLER
controller.quorum.voters={voters}
log.dirs={logs}
auto.create.topics.enable=false
default.replication.factor={replicas}
min.insync.replicas={in_sync}
offsets.topic.num.partitions=4
offsets.topic.replication.factor={replicas}
transaction.state.log.num.partitions=4
transaction.state.log.replication.factor={replicas}
transaction.state.log.min.isr={in_sync}
share.coordinator.state.topic.num.partitions=1
share.coordinator.state.topic.replication.factor={replicas}
share.coordinator.state.topic.min.isr={in_sync}
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


@dataclass(frozen=True, slots=True)
class Broker:
    """One broker that is also a controller: its number among the voters (from 1), its folder and its two ports."""

    node: int
    home: Path
    port: int
    controller_port: int


def brokers_of(ports: Mapping[str, int], names: Sequence[str], data_dir: Path) -> list[Broker]:
    """The brokers of these names, as `broker_ports` named their ports."""
    return [
        Broker(node, data_dir / name, ports[name], ports[_controller(name)]) for node, name in enumerate(names, start=1)
    ]


def broker_names(brokers: int) -> tuple[str, ...]:
    """What the brokers are called.

    >>> broker_names(1), broker_names(3)
    (('kafka',), ('kafka-1', 'kafka-2', 'kafka-3'))
    """
    return ("kafka",) if brokers == 1 else tuple(f"kafka-{node}" for node in range(1, brokers + 1))


def broker_ports(names: Sequence[str]) -> tuple[str, ...]:
    """The names of the ports that these brokers need.

    >>> broker_ports(["kafka"])
    ('kafka', 'controller')
    """
    return tuple(port for name in names for port in (name, _controller(name)))


def _controller(name: str) -> str:
    return name.replace("kafka", "controller")


def kafka_commands(jars: Path, brokers: Sequence[Broker]) -> list[tuple[str, ...]]:
    """The brokers' command lines, to be run any number of times; writes their settings and formats each once.

    With three brokers or more every topic has three replicas by default and a write needs two of them.
    """
    java = (
        str(find_java()),
        *HEAP,
        "-Dorg.slf4j.simpleLogger.defaultLogLevel=warn",
        "-Dorg.slf4j.simpleLogger.showDateTime=true",
        "-cp",
        str(jars / "*"),
    )
    cluster = _cluster_id(brokers)
    for broker in brokers:
        broker.home.mkdir(parents=True, exist_ok=True)
        _settings(broker).write_text(_properties(broker, brokers))
        _format(broker, cluster, jars, java)
    return [(*java, "kafka.Kafka", str(_settings(broker))) for broker in brokers]


def _settings(broker: Broker) -> Path:
    return broker.home / "server.properties"


def _logs(broker: Broker) -> Path:
    return broker.home / "logs"


def _properties(broker: Broker, brokers: Sequence[Broker]) -> str:
    return SERVER_PROPERTIES.format(
        node=broker.node,
        port=broker.port,
        controller=broker.controller_port,
        voters=",".join(f"{each.node}@{LOOPBACK}:{each.controller_port}" for each in brokers),
        logs=_logs(broker),
        replicas=min(len(brokers), 3),
        in_sync=min(max(len(brokers) - 1, 1), 2),
    )


def _marker(broker: Broker) -> Path:
    return _logs(broker) / "meta.properties"


def _cluster_id(brokers: Sequence[Broker]) -> str:
    """The id that the brokers' folders were formatted with, or a new one."""
    for marker in filter(Path.exists, map(_marker, brokers)):
        told = dict(line.split("=", 1) for line in marker.read_text().splitlines() if "=" in line)
        return told["cluster.id"]
    return _kafka_uuid()


def _format(broker: Broker, cluster: str, jars: Path, java: tuple[str, ...]) -> None:
    """Formats an empty folder for a static quorum: a marker with its ids, and the feature levels.

    The feature levels are the same for every folder, so Kafka's tool (two seconds of Java) makes them once.
    """
    if _marker(broker).exists():
        return
    formatted = jars / "formatted"
    if not formatted.exists():
        _make_formatted(formatted, java)
    shutil.copytree(formatted, _logs(broker), dirs_exist_ok=True)
    _marker(broker).write_text(
        f"version=1\nnode.id={broker.node}\ncluster.id={cluster}\ndirectory.id={_kafka_uuid()}\n"
    )


def _make_formatted(target: Path, java: tuple[str, ...]) -> None:
    with tempfile.TemporaryDirectory(dir=target.parent, prefix=".format-") as temporary:
        broker = Broker(1, Path(temporary), 1, 2)
        _settings(broker).write_text(_properties(broker, [broker]))
        tool = (*java, "kafka.tools.StorageTool", "format", "-t", _kafka_uuid(), "-c", str(_settings(broker)))
        done = subprocess.run(tool, capture_output=True, text=True, timeout=FORMAT_DEADLINE_S, check=False)
        if done.returncode != 0:
            raise FormatFailed(f"Kafka's storage tool ended with code {done.returncode}:\n{done.stdout}{done.stderr}")
        with contextlib.suppress(OSError):  # another process was first
            _logs(broker).rename(target)


def _kafka_uuid() -> str:
    """22 letters of URL-safe base 64, not led by a dash, which Kafka's own tools do not make either."""
    return "A" + urlsafe_b64encode(uuid.uuid4().bytes).decode().rstrip("=")[1:]
