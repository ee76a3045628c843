"""Where the services and the cache are: read from the environment once, at the edge of a program."""

from __future__ import annotations

from pathlib import Path

from pydantic import Field, field_validator
from pydantic_settings import BaseSettings, SettingsConfigDict


class Connections(BaseSettings):
    """The addresses that every role needs. Environment variables as named by each field's alias."""

    model_config = SettingsConfigDict(frozen=True, extra="ignore", populate_by_name=True)

    kafka_url: str = Field(
        default="127.0.0.1:9092",
        alias="KAFKA_URL",
        description="Kafka bootstrap servers, host:port[,host:port]; a kafka:// prefix is allowed",
    )
    redis_url: str = Field(
        default="redis://127.0.0.1:6379/0", alias="REDIS_URL", description="Redis or Valkey, redis://host:port/db"
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

    def environment(self) -> dict[str, str]:
        """The environment variables that give another process the same connections."""
        return {
            str(field.alias): str(getattr(self, name)) for name, field in type(self).model_fields.items() if field.alias
        }

    def named(self, name: str) -> str:
        """A topic, group or key name under this deployment's prefix.

        >>> Connections(prefix="t1").named("rgalign.kb.v1")
        't1.rgalign.kb.v1'
        """
        return f"{self.prefix}.{name}" if self.prefix else name
