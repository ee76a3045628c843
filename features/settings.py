"""Where the services and the cache are, and how to be let in: read from the environment once, at a program's edge."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal, Self
from urllib.parse import parse_qsl, urlencode, urlsplit

from pydantic import Field, SecretStr, field_validator, model_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

WITHOUT_SECURITY: Mapping[str, Any] = {
    "kafka_security_protocol": "PLAINTEXT",
    "kafka_sasl_mechanism": "PLAIN",
    "kafka_sasl_username": "",
    "kafka_sasl_password": SecretStr(""),
    "kafka_ssl_cafile": None,
    "kafka_ssl_certfile": None,
    "kafka_ssl_keyfile": None,
    "redis_ssl_cafile": None,
    "redis_ssl_certfile": None,
    "redis_ssl_keyfile": None,
}
"""For services of our own on loopback: fields that overrule what the environment says about other services."""


class Connections(BaseSettings):
    """The addresses that every role needs. Environment variables as named by each field's alias; empty = not set."""

    model_config = SettingsConfigDict(
        frozen=True, extra="ignore", populate_by_name=True, env_ignore_empty=True, hide_input_in_errors=True
    )

    kafka_url: str = Field(
        default="127.0.0.1:9092",
        alias="KAFKA_URL",
        description="Kafka bootstrap servers, host:port[,host:port]; a kafka:// prefix is allowed",
    )
    kafka_security_protocol: Literal["PLAINTEXT", "SSL", "SASL_SSL"] = Field(
        default="PLAINTEXT",
        alias="KAFKA_SECURITY_PROTOCOL",
        description="PLAINTEXT, SSL (TLS) or SASL_SSL (TLS with a user and password); passwords never go without TLS",
    )
    kafka_sasl_mechanism: Literal["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"] = Field(
        default="PLAIN", alias="KAFKA_SASL_MECHANISM", description="PLAIN, SCRAM-SHA-256 or SCRAM-SHA-512"
    )
    kafka_sasl_username: str = Field(default="", alias="KAFKA_SASL_USERNAME", description="the user at Kafka")
    kafka_sasl_password: SecretStr = Field(
        default=SecretStr(""), alias="KAFKA_SASL_PASSWORD", description="the user's password; never shown or logged"
    )
    kafka_ssl_cafile: Path | None = Field(
        default=None,
        alias="KAFKA_SSL_CAFILE",
        description="PEM file of the authorities that may sign a broker's certificate; not set: the system's",
    )
    kafka_ssl_certfile: Path | None = Field(
        default=None, alias="KAFKA_SSL_CERTFILE", description="PEM file of our own certificate, if brokers ask for one"
    )
    kafka_ssl_keyfile: Path | None = Field(
        default=None, alias="KAFKA_SSL_KEYFILE", description="PEM file of its key, if KAFKA_SSL_CERTFILE has it not"
    )
    redis_url: str = Field(
        default="redis://127.0.0.1:6379/0",
        alias="REDIS_URL",
        repr=False,
        description="Redis or Valkey: redis://host:port/db, or rediss://user:password@host:port/db for TLS",
    )
    redis_ssl_cafile: Path | None = Field(
        default=None, alias="REDIS_SSL_CAFILE", description="as KAFKA_SSL_CAFILE, for rediss://"
    )
    redis_ssl_certfile: Path | None = Field(
        default=None, alias="REDIS_SSL_CERTFILE", description="as KAFKA_SSL_CERTFILE, for rediss://"
    )
    redis_ssl_keyfile: Path | None = Field(
        default=None, alias="REDIS_SSL_KEYFILE", description="as KAFKA_SSL_KEYFILE, for rediss://"
    )
    prefix: str = Field(
        default="",
        alias="RGALIGN_PREFIX",
        pattern=r"^([a-z0-9][a-z0-9-]{0,30})?$",
        description="put before every topic, consumer group and Redis key, to share services with others",
    )
    tenant: str = Field(default="demo", alias="RGALIGN_TENANT", description="the tenant a command acts for")
    cache: Path = Field(
        default=Path.home() / ".cache" / "rgalign",
        alias="RGALIGN_CACHE",
        description="what is fetched or built once: jars, models, vectors, model v0",
    )
    registry: Path = Field(
        default=Path(".dev/registry"), alias="RGALIGN_REGISTRY", description="the folder that holds model bundles"
    )

    @field_validator("kafka_url")
    @classmethod
    def _without_scheme(cls, url: str) -> str:
        servers = url.removeprefix("kafka://")
        for server in servers.split(","):
            host, _, port = server.rpartition(":")
            if not host or not port.isdigit():
                raise ValueError(f"KAFKA_URL holds {server!r}; expected host:port[,host:port], e.g. 127.0.0.1:9092")
        return servers

    @field_validator("redis_url")
    @classmethod
    def _of_redis(cls, url: str) -> str:
        address = urlsplit(url)
        if address.scheme not in {"redis", "rediss"} or not address.hostname:
            raise ValueError(
                f"REDIS_URL begins with {address.scheme!r}; expected redis://host:port/db or, with TLS, rediss://..."
            )
        loose = [name for name, _ in parse_qsl(address.query) if name.startswith("ssl")]
        if loose:
            raise ValueError(
                f"REDIS_URL sets {', '.join(loose)}; certificates and host names are always verified: use rediss:// "
                "and name the files by REDIS_SSL_CAFILE, REDIS_SSL_CERTFILE and REDIS_SSL_KEYFILE"
            )
        return url

    @model_validator(mode="after")
    def _makes_sense(self) -> Self:
        protocol = self.kafka_security_protocol
        user = _set(self, "kafka_sasl_username", "kafka_sasl_password")
        if protocol == "SASL_SSL" and len(user) < 2:
            raise ValueError(
                f"KAFKA_SECURITY_PROTOCOL is SASL_SSL with {' and '.join(user) or 'no user'}; expected both: "
                "set KAFKA_SASL_USERNAME and KAFKA_SASL_PASSWORD"
            )
        if protocol != "SASL_SSL":
            _refuse(user, f"KAFKA_SECURITY_PROTOCOL is {protocol}", "KAFKA_SECURITY_PROTOCOL=SASL_SSL")
        if protocol == "PLAINTEXT":
            files = _set(self, "kafka_ssl_cafile", "kafka_ssl_certfile", "kafka_ssl_keyfile")
            _refuse(files, "KAFKA_SECURITY_PROTOCOL is PLAINTEXT", "KAFKA_SECURITY_PROTOCOL=SSL or SASL_SSL")
        if not self.redis_url.startswith("rediss:"):
            files = _set(self, "redis_ssl_cafile", "redis_ssl_certfile", "redis_ssl_keyfile")
            _refuse(files, "REDIS_URL begins with redis://, which is without TLS", "a REDIS_URL of rediss://...")
        for service in ("kafka", "redis"):
            if _set(self, f"{service}_ssl_keyfile") and not _set(self, f"{service}_ssl_certfile"):
                name = service.upper()
                raise ValueError(f"{name}_SSL_KEYFILE is set without its certificate: set {name}_SSL_CERTFILE, too")
        return self

    @property
    def redis_address(self) -> str:
        """`redis_url` with the TLS files as its query, as redis-py reads it. Holds the password: not for people.

        >>> Connections(redis_url="rediss://shop:6380/2", redis_ssl_cafile="/etc/ca.pem").redis_address
        'rediss://shop:6380/2?ssl_ca_certs=%2Fetc%2Fca.pem'
        """
        files = {
            "ssl_ca_certs": self.redis_ssl_cafile,
            "ssl_certfile": self.redis_ssl_certfile,
            "ssl_keyfile": self.redis_ssl_keyfile,
        }
        address = urlsplit(self.redis_url)
        query = [*parse_qsl(address.query), *((name, str(path)) for name, path in files.items() if path)]
        return address._replace(query=urlencode(query)).geturl()

    @property
    def redis_place(self) -> str:
        """Where Redis is, for people: without user and password.

        >>> Connections(redis_url="rediss://worker:s3cret@shop:6380/2").redis_place
        'rediss://shop:6380/2'
        """
        address = urlsplit(self.redis_url)
        return f"{address.scheme}://{address.netloc.rpartition('@')[2]}{address.path}"

    def environment(self) -> dict[str, str]:
        """The environment variables that give another process the same connections, the secret one included."""
        return {
            str(field.alias): _text(getattr(self, name))
            for name, field in type(self).model_fields.items()
            if field.alias
        }

    def named(self, name: str) -> str:
        """A topic, group or key name under this deployment's prefix.

        >>> Connections(prefix="t1").named("rgalign.kb.v1")
        't1.rgalign.kb.v1'
        """
        return f"{self.prefix}.{name}" if self.prefix else name


def _text(value: object) -> str:
    if isinstance(value, SecretStr):
        return value.get_secret_value()
    return "" if value is None else str(value)


def _set(connections: Connections, *names: str) -> list[str]:
    """The variables of those of the fields that are set."""
    return [name.upper() for name in names if _text(getattr(connections, name))]


def _refuse(found: list[str], because: str, instead: str) -> None:
    if found:
        raise ValueError(f"{' and '.join(found)} is set, but {because}: set {instead}, or unset the former")
