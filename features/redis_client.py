"""How every role talks to Redis: one way to open a client, and many commands in one exchange.

redis-py packs commands in Python and arms a timer for every reply; a micro-batch has hundreds of both. Our connection
packs with hiredis and reads all replies of an exchange under one deadline. It leans on `Connection._parser`, which
redis < 8 has; a test holds it.
"""

from __future__ import annotations

import asyncio
import ssl
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any, Self

from hiredis import pack_command
from redis.asyncio import Connection, Redis, RedisCluster, SSLConnection
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import TimeoutError as RedisTimeoutError

from features.access import tls_context
from features.settings import Connections

SOCKET_TIMEOUT_S = 5.0
CONNECT_TIMEOUT_S = 2.0
HEALTH_CHECK_S = 15

Command = Sequence[bytes | str | int | float]
_pack: Callable[[tuple[Any, ...]], bytes] = pack_command


class _Packed(Connection):
    """A connection whose commands hiredis packs."""

    def pack_command(self, *args: Any) -> list[bytes]:
        """One command's bytes; a name of two words ("CONFIG GET") is left to redis-py."""
        if isinstance(args[0], str) and " " in args[0]:
            return list(super().pack_command(*args))
        return [_pack(args)]

    async def send(self, commands: Sequence[Command]) -> None:
        """Sends commands without waiting for their replies."""
        await self.send_packed_command(b"".join([_pack(tuple(command)) for command in commands]))

    async def replies(self, count: int) -> list[Any]:
        """The next `count` replies, in order; a refusal is a value."""
        parser: Any = self._parser
        try:
            async with asyncio.timeout(self.socket_timeout):
                return [await parser.read_response() for _ in range(count)]
        except TimeoutError:
            await self.disconnect(nowait=True)
            raise RedisTimeoutError(
                f"Redis gave no answer to {count} commands within {self.socket_timeout} s"
            ) from None
        except OSError as error:
            await self.disconnect(nowait=True)
            raise RedisConnectionError(f"the connection to Redis broke while its answers were read: {error}") from error
        except BaseException:
            await self.disconnect(nowait=True)  # replies of this exchange must not answer the next
            raise


class _PackedTls(_Packed, SSLConnection):
    """The same over TLS, verified by our context alone: redis-py's own trusts the system's authorities, too."""

    def __init__(self, *, tls: ssl.SSLContext, **arguments: Any) -> None:
        super().__init__(**arguments)
        self.ssl_context.context = tls


def open_redis(connections: Connections) -> Any:
    """A redis.asyncio client with deadlines; its commands are packed by hiredis.

    With rediss:// certificate and host name are verified. Raises `AccessRefused` for a TLS file that cannot be used.
    """
    client = Redis.from_url(
        connections.redis_url,
        socket_timeout=SOCKET_TIMEOUT_S,
        socket_connect_timeout=CONNECT_TIMEOUT_S,
        health_check_interval=HEALTH_CHECK_S,
    )
    pool = client.connection_pool
    pool.connection_class = _Packed
    if connections.redis_url.startswith("rediss:"):
        files = (connections.redis_ssl_cafile, connections.redis_ssl_certfile, connections.redis_ssl_keyfile)
        pool.connection_class = _PackedTls
        pool.connection_kwargs["tls"] = tls_context("REDIS", *files)
    return client


async def exchange(redis: Any, commands: Sequence[Command]) -> list[Any]:
    """Sends `commands` in one go and returns their replies in order; a refusal by Redis is a value, not raised.

    On a RedisCluster each command goes to its key's node. Raises redis' ConnectionError or TimeoutError; then any of
    the commands may have taken effect.
    """
    async with Exchanges(redis) as exchanges:
        await exchanges.send(commands)
        return await exchanges.replies()


class Exchanges:
    """Exchanges that may overlap: each is sent by a connection of its own, and answered in the order of sending.

    Use it as an async context: what is not answered when it ends is given up.
    """

    def __init__(self, redis: Any) -> None:
        self._redis = redis
        self._is_packed = isinstance(redis, Redis) and issubclass(redis.connection_pool.connection_class, _Packed)
        self._under_way: deque[tuple[Any, Sequence[Command]]] = deque()

    def __len__(self) -> int:
        return len(self._under_way)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        while self._under_way:
            connection, _commands = self._under_way.popleft()
            if connection is not None:
                await connection.disconnect(nowait=True)  # its replies must not answer another exchange
                await self._redis.connection_pool.release(connection)

    async def send(self, commands: Sequence[Command]) -> None:
        """Sends `commands`; when this returns, they are on their way. A pipeline of redis-py goes when it is asked."""
        if not (self._is_packed and commands):
            self._under_way.append((None, commands))
            return
        connection = await self._redis.connection_pool.get_connection()
        self._under_way.append((connection, commands))
        await connection.send(commands)

    async def replies(self) -> list[Any]:
        """The replies to what was sent longest ago. Raises as `exchange` does."""
        connection, commands = self._under_way.popleft()
        if connection is None:
            return await self._by_pipeline(commands)
        try:
            return list(await connection.replies(len(commands)))
        finally:
            await self._redis.connection_pool.release(connection)

    async def _by_pipeline(self, commands: Sequence[Command]) -> list[Any]:
        if not commands:
            return []
        is_cluster = isinstance(self._redis, RedisCluster)
        pipe = self._redis.pipeline() if is_cluster else self._redis.pipeline(transaction=False)
        for command in commands:
            pipe.execute_command(*command)
        return list(await pipe.execute(raise_on_error=False))
