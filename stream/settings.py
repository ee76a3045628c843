"""What can be set about a worker, read from the environment once, and what it tells Faust."""

from __future__ import annotations

import importlib
import tempfile
from pathlib import Path
from typing import Any

from pydantic import Field
from pydantic_settings import BaseSettings, SettingsConfigDict

from features.kafka_client import aiokafka_arguments
from features.settings import Connections

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


def faust_settings(connections: Connections, worker: WorkerSettings) -> dict[str, Any]:
    """Keyword arguments of the Faust app (platform.md 4 and 7 say why each is as it is)."""
    session_s = worker.session_timeout_s
    return {
        "broker": [f"kafka://{server}" for server in connections.kafka_url.split(",")],
        "broker_credentials": _credentials(connections),
        "datadir": Path(tempfile.gettempdir()) / "rgalign-faust",
        "processing_guarantee": "at_least_once",
        "broker_session_timeout": session_s,
        "broker_heartbeat_interval": session_s / 5,
        "broker_rebalance_timeout": max(2 * session_s, 6.0),
        "broker_request_timeout": 90.0,
        "broker_commit_interval": 1.0,
        "broker_max_poll_records": 2000,
        "consumer_auto_offset_reset": "earliest",
        "stream_buffer_maxsize": 8,
        "stream_wait_empty": False,
        "stream_recovery_delay": 0.0,
        "topic_allow_declare": False,
        "topic_disable_leader": True,
        "web_enabled": False,
        "web_tables_enabled": False,
        "autodiscover": False,
    }


def _credentials(connections: Connections) -> Any:
    """What `features.kafka_client` tells aiokafka, in Faust's own terms; others who import this need no Faust."""
    told = aiokafka_arguments(connections)
    if told["security_protocol"] == "PLAINTEXT":
        return None
    auth = importlib.import_module("faust.auth")
    if told["security_protocol"] == "SASL_SSL":
        return auth.SASLCredentials(
            username=told["sasl_plain_username"],
            password=told["sasl_plain_password"],
            mechanism=told["sasl_mechanism"],
            ssl_context=told["ssl_context"],
        )
    return auth.SSLCredentials(told["ssl_context"])
