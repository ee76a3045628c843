"""Whether Kafka lets us in, and if not, why: the clients only say that they could not connect, and try again."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any

from aiokafka.conn import AIOKafkaConnection
from aiokafka.errors import (
    IllegalSaslStateError,
    KafkaError,
    SaslAuthenticationFailed,
    UnsupportedSaslMechanismError,
)
from aiokafka.protocol.admin import SaslHandShakeRequest
from aiokafka.protocol.metadata import MetadataRequest

from features.access import AccessRefused, causes, certificate_fault, speaks_tls

DEADLINE_MS = 5000
CLOSE_S = 0.2


async def is_admitted(arguments: Mapping[str, Any]) -> bool:
    """Whether one of the brokers answers and lets us in; False when none answers, which may pass.

    `arguments` are aiokafka's, see `features.kafka_client`. Raises `AccessRefused`.
    """
    options = {name: value for name, value in arguments.items() if name != "bootstrap_servers"}
    refusal: AccessRefused | None = None
    for server in arguments["bootstrap_servers"].split(","):
        host, _, port = server.rpartition(":")
        try:
            await _ask(host, int(port), options)
        except (KafkaError, OSError, TimeoutError) as error:
            told = await _refusal(error, host, int(port), options)
            refusal = refusal or told
        else:
            return True
    if refusal is not None:
        raise refusal
    return False


async def _ask(host: str, port: int, options: Mapping[str, Any]) -> None:
    """Connects and asks for the brokers, which a listener answers only to those who are let in."""
    async with _connected(host, port, options) as connection:
        await connection.send(MetadataRequest([]))


@asynccontextmanager
async def _connected(host: str, port: int, options: Mapping[str, Any]) -> AsyncIterator[AIOKafkaConnection]:
    """A connection, closed to the end even if it was refused, as the loop may end with us."""
    connection = AIOKafkaConnection(host, port, request_timeout_ms=DEADLINE_MS, **options)
    try:
        await connection.connect()
        yield connection
    finally:
        closed = connection.close()
        await asyncio.wait([closed], timeout=CLOSE_S)  # never done where no connection was made


async def _refusal(error: Exception, host: str, port: int, options: Mapping[str, Any]) -> AccessRefused | None:
    """What to tell a person, or None when the broker is merely away."""
    where = f"Kafka at {host}:{port}"
    protocol = options["security_protocol"]
    if (told := _refused_user(error, where, options) or _refused_certificate(error, where)) is not None:
        return told
    if protocol == "PLAINTEXT" and await speaks_tls(host, port):
        return AccessRefused(
            f"{where} speaks TLS, and KAFKA_SECURITY_PROTOCOL is PLAINTEXT: set KAFKA_SECURITY_PROTOCOL to SASL_SSL "
            "with KAFKA_SASL_USERNAME and KAFKA_SASL_PASSWORD, or to SSL, and KAFKA_SSL_CAFILE"
        )
    if protocol != "PLAINTEXT" and await _greets(host, port, {"security_protocol": "PLAINTEXT"}):
        return AccessRefused(
            f"{where} does not speak TLS, and KAFKA_SECURITY_PROTOCOL is {protocol}: name a TLS listener in KAFKA_URL, "
            "or set KAFKA_SECURITY_PROTOCOL=PLAINTEXT"
        )
    if protocol == "SSL" and await _greets(host, port, options, asks_for_user=True):
        return AccessRefused(
            f"{where} asks for a user, and KAFKA_SECURITY_PROTOCOL is SSL: set KAFKA_SECURITY_PROTOCOL=SASL_SSL, "
            "KAFKA_SASL_USERNAME and KAFKA_SASL_PASSWORD"
        )
    return None


def _refused_user(error: Exception, where: str, options: Mapping[str, Any]) -> AccessRefused | None:
    if isinstance(error, SaslAuthenticationFailed):
        return AccessRefused(
            f"{where} refused user {options['sasl_plain_username']!r} ({options['sasl_mechanism']}): check "
            "KAFKA_SASL_USERNAME, KAFKA_SASL_PASSWORD and KAFKA_SASL_MECHANISM"
        )
    if isinstance(error, UnsupportedSaslMechanismError):
        return AccessRefused(
            f"{where} does not offer {options['sasl_mechanism']}: set KAFKA_SASL_MECHANISM to what its listener has"
        )
    if isinstance(error, IllegalSaslStateError):
        return AccessRefused(
            f"{where} takes no user and password, and KAFKA_SECURITY_PROTOCOL is SASL_SSL: name a SASL_SSL listener in "
            "KAFKA_URL, or set KAFKA_SECURITY_PROTOCOL=SSL"
        )
    return None


def _refused_certificate(error: Exception, where: str) -> AccessRefused | None:
    if (fault := certificate_fault(error)) is not None:
        return AccessRefused(
            f"the certificate of {where} is not trusted ({fault.verify_message}): set KAFKA_SSL_CAFILE to the "
            "authority that signed it, and in KAFKA_URL the host name that it is for"
        )
    if any(isinstance(cause, ssl.SSLError) and "ALERT" in (cause.reason or "") for cause in causes(error)):
        return AccessRefused(
            f"{where} refused our side of TLS ({causes(error)[-1]}): if it asks for clients' certificates, set "
            "KAFKA_SSL_CERTFILE and KAFKA_SSL_KEYFILE"
        )
    return None


async def _greets(host: str, port: int, options: Mapping[str, Any], *, asks_for_user: bool = False) -> bool:
    """Whether a broker answers Kafka's first request under these options (and then wants a user to be named)."""
    try:
        async with _connected(host, port, options) as connection:
            if not asks_for_user:
                return True
            answer = await connection.send(SaslHandShakeRequest("PLAIN"))
            return bool(answer.error_code != IllegalSaslStateError.errno)
    except (KafkaError, OSError, TimeoutError):
        return False
