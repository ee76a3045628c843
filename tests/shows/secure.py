"""An Apache Kafka with TLS and users, and a Redis with TLS and an ACL user, as the tests of secure connections need."""

from __future__ import annotations

import contextlib
import shutil
import ssl
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

import redis
import trustme
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)

from deploy.broker import Broker, kafka_commands
from deploy.embedded import redis_command
from deploy.jars import ensure_jars
from deploy.ports import LOOPBACK, free_port
from deploy.probes import kafka_answers, redis_answers
from deploy.supervise import Child, Supervisor
from features.settings import Connections
from tests.shows.tls_proxy import tls_proxy

USER, PASSWORD = "worker", "s3cret,with comma"

PERMITTED = (
    "ping", "select", "time", "get", "set", "mget", "expire", "pexpire",
    "hget", "hmget", "hset", "hdel", "hincrby", "hkeys", "zadd", "zrevrange", "zremrangebyrank",
    "eval", "evalsha", "script|load",
)  # fmt: skip
"""All that our roles, commands and Feast's reads run at Redis."""

PROPERTIES = """
listeners=SASL_SSL://127.0.0.1:{sasl},SSL://127.0.0.1:{tls},PLAINTEXT://127.0.0.1:{plain},CONTROLLER://127.0.0.1:{controller}
advertised.listeners=SASL_SSL://127.0.0.1:{sasl},SSL://127.0.0.1:{tls},PLAINTEXT://127.0.0.1:{plain}
listener.security.protocol.map=SASL_SSL:SASL_SSL,SSL:SSL,PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT
inter.broker.listener.name=PLAINTEXT
ssl.keystore.type=PEM
ssl.keystore.location={keystore}
ssl.truststore.type=PEM
ssl.truststore.location={truststore}
listener.name.ssl.ssl.client.auth=required
sasl.enabled.mechanisms=PLAIN,SCRAM-SHA-512
listener.name.sasl_ssl.plain.sasl.jaas.config=org.apache.kafka.common.security.plain.PlainLoginModule required \
user_{user}="{password}";
listener.name.sasl_ssl.scram-sha-512.sasl.jaas.config=org.apache.kafka.common.security.scram.ScramLoginModule required;
"""


@dataclass(frozen=True)
class Secure:
    """The services' ports by listener, and the files of certificates."""

    folder: Path
    ports: dict[str, int]

    def file(self, name: str) -> Path:
        """ca.pem, other-ca.pem, client.pem."""
        return self.folder / name

    def url(self, listener: str, host: str = LOOPBACK) -> str:
        return f"{host}:{self.ports[listener]}"

    def redis_url(
        self,
        user: str = USER,
        password: str = PASSWORD,
        scheme: str = "rediss",
        host: str = LOOPBACK,
        port: str = "redis",
    ) -> str:
        return f"{scheme}://{user}:{quote(password)}@{host}:{self.ports[port]}/0"

    def connections(self, **changes: object) -> Connections:
        """What a role is told, but for `changes`."""
        told: dict[str, object] = {
            "kafka_url": self.url("sasl"),
            "kafka_security_protocol": "SASL_SSL",
            "kafka_sasl_username": USER,
            "kafka_sasl_password": PASSWORD,
            "kafka_ssl_cafile": self.file("ca.pem"),
            "redis_url": self.redis_url(),
            "redis_ssl_cafile": self.file("ca.pem"),
        }
        return Connections(**{**told, **changes})  # type: ignore[arg-type]


@contextlib.contextmanager
def secure_services(folder: Path) -> Iterator[Secure]:
    """Both services, gone at the end."""
    names = ("sasl", "tls", "plain", "controller", "redis", "redis_plain")
    ports: dict[str, int] = {}
    for name in names:
        ports[name] = free_port(frozenset(ports.values()))
    context, server = _certificates(folder), _server_with_tls()
    in_front = contextlib.nullcontext() if server else tls_proxy(context, ports["redis"], ports["redis_plain"])
    with Supervisor(folder / "logs") as supervisor, in_front:
        supervisor.start(_kafka(folder, ports), wait=False)
        supervisor.start(_redis(folder, ports, server), wait=False)
        supervisor.wait_ready("redis")
        _restrict(ports["redis_plain"])
        supervisor.wait_ready("kafka")
        yield Secure(folder, ports)


def _certificates(folder: Path) -> ssl.SSLContext:
    """Writes the authority, another one, and certificates for the server and a client; returns the server's context."""
    authority = trustme.CA()
    authority.cert_pem.write_to_path(folder / "ca.pem")
    trustme.CA().cert_pem.write_to_path(folder / "other-ca.pem")
    for name, identity in (("server", LOOPBACK), ("client", "worker.example")):
        issued = authority.issue_cert(identity)
        key = load_pem_private_key(issued.private_key_pem.bytes(), None)
        pem = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())  # Kafka reads no other format
        (folder / f"{name}.pem").write_bytes(pem + b"".join(part.bytes() for part in issued.cert_chain_pems))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(folder / "server.pem")
    return context


def _kafka(folder: Path, ports: dict[str, int]) -> Child:
    broker = Broker(1, folder / "kafka", ports["plain"], ports["controller"])
    [argv] = kafka_commands(ensure_jars(Connections().cache), [broker])
    files = {"keystore": folder / "server.pem", "truststore": folder / "ca.pem"}
    with Path(argv[-1]).open("a") as properties:
        properties.write(PROPERTIES.format(**ports, **files, user=USER, password=PASSWORD))
    return Child("kafka", argv, ready=lambda: kafka_answers(LOOPBACK, ports["plain"]), restart=False)


def _server_with_tls() -> str | None:
    """A redis-server on PATH that was built with TLS, unlike the Valkey wheel's; None: a proxy stands in front."""
    found = shutil.which("redis-server")
    return found if found and b"tls-auth-clients" in Path(found).read_bytes() else None


def _redis(folder: Path, ports: dict[str, int], server: str | None) -> Child:
    argv = redis_command(folder / "redis", ports["redis_plain"], is_persistent=False)
    if server is not None:
        own = str(folder / "server.pem")
        files = ("--tls-cert-file", own, "--tls-key-file", own, "--tls-ca-cert-file", str(folder / "ca.pem"))
        argv = (server, *argv[1:], "--tls-port", str(ports["redis"]), *files, "--tls-auth-clients", "no")
    return Child("redis", argv, ready=lambda: redis_answers(LOOPBACK, ports["redis_plain"]), restart=False)


def _restrict(port: int) -> None:
    """Makes the ACL user and shuts everybody else out."""
    with redis.Redis(port=port) as admin:
        admin.execute_command(
            "ACL", "SETUSER", USER, "reset", "on", f">{PASSWORD}", "~*", *(f"+{command}" for command in PERMITTED)
        )
        admin.execute_command("ACL", "SETUSER", "default", "resetpass", ">not-for-roles")
