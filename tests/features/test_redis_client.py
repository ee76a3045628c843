"""Many commands in one exchange: the same replies as one by one, in order, also after a fault."""

from __future__ import annotations

import asyncio

import pytest
from redis.asyncio import Redis
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import ResponseError
from redis.exceptions import TimeoutError as RedisTimeoutError

from deploy.ports import free_port
from features.redis_client import exchange, open_redis
from features.settings import Connections


@pytest.fixture
async def redis(connections):
    client = open_redis(connections)
    yield client
    await client.aclose()


async def test_replies_come_in_the_order_of_their_commands(redis, prefix):
    key = f"{prefix}:k"
    commands = [("SET", key, b"\x00\xff"), ("GET", key), ("HSET", f"{key}h", "f", 7), ("HGET", f"{key}h", b"f")]
    assert await exchange(redis, commands) == [b"OK", b"\x00\xff", 1, b"7"]


async def test_a_plain_client_answers_the_same(redis, redis_url, prefix):
    commands = [("HSET", f"{prefix}:k", "f", 1.5), ("HGET", f"{prefix}:k", "f"), ("HDEL", f"{prefix}:k", "f")]
    async with Redis.from_url(redis_url) as plain:
        assert await exchange(plain, commands) == await exchange(redis, commands) == [1, b"1.5", 1]


async def test_a_refusal_is_a_value_and_the_rest_goes_on(redis, prefix):
    replies = await exchange(redis, [("SET", f"{prefix}:k", "text"), ("INCR", f"{prefix}:k"), ("GET", f"{prefix}:k")])
    assert isinstance(replies[1], ResponseError)
    assert replies[2] == b"text"


async def test_exchanges_at_once_do_not_mix_their_replies(redis, prefix):
    async def one(name: str) -> list[bytes]:
        return await exchange(redis, [("ECHO", f"{name}{place}") for place in range(200)])

    found = await asyncio.gather(*(one(name) for name in "abcdef"))
    assert found == [[f"{name}{place}".encode() for place in range(200)] for name in "abcdef"]


async def test_a_reply_after_the_deadline_never_answers_another_command(connections, prefix):
    client = open_redis(connections)
    client.connection_pool.connection_kwargs["socket_timeout"] = 0.2
    with pytest.raises(RedisTimeoutError):
        await exchange(client, [("BLPOP", f"{prefix}:none", 1), ("ECHO", "late")])
    assert await exchange(client, [("ECHO", "fresh")]) == [b"fresh"]
    await client.aclose()


async def test_without_a_server_it_is_a_connection_error():
    client = open_redis(Connections(redis_url=f"redis://127.0.0.1:{free_port()}/0"))
    with pytest.raises(RedisConnectionError):
        await exchange(client, [("PING",)])
    await client.aclose()
