"""Whether Redis lets us in, and if not, why: redis-py calls a refusal a connection error, like those that may pass."""

from __future__ import annotations

import asyncio
import ssl
from urllib.parse import urlsplit

from redis.exceptions import AuthenticationError, AuthorizationError, NoPermissionError, RedisError

from features.access import AccessRefused, causes, certificate_fault, speaks_tls
from features.redis_client import CONNECT_TIMEOUT_S, open_redis
from features.settings import Connections

DEFAULT_PORT = 6379


async def is_admitted(connections: Connections) -> bool:
    """Whether Redis answers and lets us in; False when it does not answer, which may pass. Raises `AccessRefused`."""
    async with open_redis(connections) as redis:
        try:
            await redis.ping()
        except (RedisError, OSError) as error:
            told = refusal_of(error, connections) or await _other_port(connections)
            if told is not None:
                raise told from error
            return False
    return True


def raise_if_refused(error: BaseException) -> None:
    """Raises `AccessRefused` when an error of a Redis call in the middle of the work will not pass by itself."""
    if isinstance(error, (AuthenticationError, AuthorizationError)) or certificate_fault(error) is not None:
        raise AccessRefused(
            f"Redis no longer lets us in ({error}): check user and password in REDIS_URL, and REDIS_SSL_CAFILE"
        ) from error


def refusal_of(error: BaseException, connections: Connections) -> AccessRefused | None:
    """What to tell a person when an error of a Redis call means that we are not let in; None when it may pass."""
    where = f"Redis at {connections.redis_place}"
    if isinstance(error, NoPermissionError):
        return AccessRefused(f"{where} refused a command ({error}): allow it to the ACL user that REDIS_URL names")
    if isinstance(error, (AuthenticationError, AuthorizationError)):
        user = urlsplit(connections.redis_url).username or "default"
        return AccessRefused(
            f"{where} refused user {user!r} ({error}): check user and password in REDIS_URL, "
            "redis[s]://user:password@host:port/db"
        )
    if (fault := certificate_fault(error)) is not None:
        return AccessRefused(
            f"the certificate of {where} is not trusted ({fault.verify_message}): set REDIS_SSL_CAFILE to the "
            "authority that signed it, and in REDIS_URL the host name that it is for"
        )
    alerts = [cause for cause in causes(error) if isinstance(cause, ssl.SSLError) and "ALERT" in (cause.reason or "")]
    if alerts:
        return AccessRefused(
            f"{where} refused our side of TLS ({alerts[0].reason}): if it asks for clients' certificates, set "
            "REDIS_SSL_CERTFILE and REDIS_SSL_KEYFILE"
        )
    return None


async def _other_port(connections: Connections) -> AccessRefused | None:
    """What to tell when TLS is spoken on one side only: both then wait for each other, or hang up."""
    address = urlsplit(connections.redis_url)
    host, port = address.hostname or "", address.port or DEFAULT_PORT
    where = f"Redis at {connections.redis_place}"
    if address.scheme == "redis" and await speaks_tls(host, port):
        return AccessRefused(f"{where} speaks TLS: begin REDIS_URL with rediss:// and set REDIS_SSL_CAFILE")
    if address.scheme == "rediss" and await _answers_without_tls(host, port):
        return AccessRefused(f"{where} does not speak TLS: name its TLS port in REDIS_URL, or begin it with redis://")
    return None


async def _answers_without_tls(host: str, port: int) -> bool:
    try:
        async with asyncio.timeout(CONNECT_TIMEOUT_S):
            reader, writer = await asyncio.open_connection(host, port)
            try:
                writer.write(b"PING\r\n")
                return (await reader.read(1)) in {b"+", b"-"}
            finally:
                writer.close()
                await writer.wait_closed()
    except (OSError, TimeoutError):
        return False
