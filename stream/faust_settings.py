"""What a worker tells Faust: how it meets the broker, and which of Faust's own features stay off."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

from faust.auth import SASLCredentials, SSLCredentials

from features.kafka_client import aiokafka_arguments
from features.settings import Connections
from stream.settings import WorkerSettings


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
        "broker_max_poll_records": 8000,
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
    """What `features.kafka_client` tells aiokafka, in Faust's own terms."""
    told = aiokafka_arguments(connections)
    if told["security_protocol"] == "PLAINTEXT":
        return None
    if told["security_protocol"] == "SASL_SSL":
        return SASLCredentials(
            username=told["sasl_plain_username"],
            password=told["sasl_plain_password"],
            mechanism=told["sasl_mechanism"],
            ssl_context=told["ssl_context"],
        )
    return SSLCredentials(told["ssl_context"])
