"""How every role talks to Kafka: one place that turns the settings into arguments of the clients."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

from features.access import tls_context
from features.kafka_access import is_admitted
from features.settings import Connections

Client = TypeVar("Client")


def aiokafka_arguments(connections: Connections) -> dict[str, Any]:
    """Where the brokers are and how to be let in, for aiokafka. Raises `AccessRefused` for a file that cannot be used.

    >>> aiokafka_arguments(Connections(kafka_url="shop:9092"))
    {'bootstrap_servers': 'shop:9092', 'security_protocol': 'PLAINTEXT'}
    """
    return {
        "bootstrap_servers": connections.kafka_url,
        "security_protocol": connections.kafka_security_protocol,
        **_tls(connections),
        **_user(connections),
    }


def kafka_python_arguments(connections: Connections) -> dict[str, Any]:
    """The same for kafka-python, whose names are the same."""
    return aiokafka_arguments(connections)


def open_kafka(kind: Callable[..., Client], connections: Connections, **arguments: Any) -> Client:
    """A client of kafka-python, opened. Raises `AccessRefused` at once, where the client itself would try on and on.

    While no broker answers, the client waits, and raises its KafkaError in the end.
    """
    with ThreadPoolExecutor(1) as pool:  # the caller's thread may be running an event loop
        pool.submit(asyncio.run, is_admitted(aiokafka_arguments(connections))).result()
    return kind(**kafka_python_arguments(connections), **arguments)


def _tls(connections: Connections) -> dict[str, Any]:
    if connections.kafka_security_protocol == "PLAINTEXT":
        return {}
    files = (connections.kafka_ssl_cafile, connections.kafka_ssl_certfile, connections.kafka_ssl_keyfile)
    return {"ssl_context": tls_context("KAFKA", *files)}


def _user(connections: Connections) -> dict[str, Any]:
    if connections.kafka_security_protocol != "SASL_SSL":
        return {}
    return {
        "sasl_mechanism": connections.kafka_sasl_mechanism,
        "sasl_plain_username": connections.kafka_sasl_username,
        "sasl_plain_password": connections.kafka_sasl_password.get_secret_value(),
    }
