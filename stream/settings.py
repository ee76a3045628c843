"""What can be set about a worker and an embedder, read from the environment once."""

from __future__ import annotations

from pydantic import Field
from pydantic_settings import BaseSettings, SettingsConfigDict

GROUP = "rgalign-worker"
"""The consumer group of the workers, before the deployment's prefix."""

EMBEDDER_GROUP = "rgalign-embedder"
"""The consumer group of the embedders, before the deployment's prefix."""


class WorkerSettings(BaseSettings):
    """A stream worker's own settings; the addresses are in `Connections`."""

    model_config = SettingsConfigDict(frozen=True, extra="ignore", populate_by_name=True)

    health_port: int = Field(
        default=0, alias="RGALIGN_HEALTH_PORT", ge=0, le=65_535, description="/livez, /readyz and /metrics; 0 = none"
    )
    health_host: str = Field(default="127.0.0.1", alias="RGALIGN_HEALTH_HOST", description="0.0.0.0 in a container")
    session_timeout_s: float = Field(
        default=10.0,
        alias="RGALIGN_SESSION_TIMEOUT_S",
        ge=1.0,
        description="a worker that is silent this long loses its partitions to the others",
    )
    store_patience_s: float = Field(
        default=60.0,
        alias="RGALIGN_STORE_PATIENCE_S",
        gt=0,
        description="how long a batch is retried while Redis fails, before the worker exits to be restarted",
    )
    stop_deadline_s: float = Field(
        default=8.0,
        alias="RGALIGN_STOP_DEADLINE_S",
        gt=0,
        description="how long a SIGTERM may drain before a hard exit",
    )


class EmbedderSettings(BaseSettings):
    """An embedder's own settings; the addresses are in `Connections`, the model's in `features.reasoner_settings`."""

    model_config = SettingsConfigDict(frozen=True, extra="ignore", populate_by_name=True)

    health_port: int = Field(
        default=0, alias="RGALIGN_HEALTH_PORT", ge=0, le=65_535, description="/livez, /readyz and /metrics; 0 = none"
    )
    health_host: str = Field(default="127.0.0.1", alias="RGALIGN_HEALTH_HOST", description="0.0.0.0 in a container")
    batch_deadline_s: float = Field(
        default=60.0,
        alias="RGALIGN_EMBED_DEADLINE_S",
        gt=0,
        description="a batch that the reasoner has not ended by then is left behind and halved",
    )
    stop_deadline_s: float = Field(
        default=5.0, alias="RGALIGN_STOP_DEADLINE_S", gt=0, description="how long a SIGTERM may drain"
    )
