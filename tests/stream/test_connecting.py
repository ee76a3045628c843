"""A role that starts before its broker waits for it, and gives up with an error when none comes."""

from __future__ import annotations

import asyncio

import pytest
from aiokafka import AIOKafkaProducer
from aiokafka.errors import KafkaConnectionError

from deploy.embedded import Embedded
from deploy.ports import free_port
from features.settings import Connections
from stream.connecting import started


async def test_a_client_waits_for_a_broker_that_comes_later(tmp_path):
    with Embedded().start(redis=False, data_dir=tmp_path) as first:
        url = first.kafka_url
    client = AIOKafkaProducer(bootstrap_servers=url)
    waiting = asyncio.create_task(started(client, Connections(kafka_url=url)))
    await asyncio.sleep(1.0)
    assert not waiting.done()
    with await asyncio.to_thread(Embedded().start, redis=False, data_dir=tmp_path):
        assert await asyncio.wait_for(waiting, 30) is client
        assert client.client.cluster.brokers()
        await client.stop()


async def test_without_a_broker_the_error_names_where_it_was_looked_for():
    port = free_port()
    connections = Connections(kafka_url=f"127.0.0.1:{port}")
    client = AIOKafkaProducer(bootstrap_servers=connections.kafka_url)
    with pytest.raises(KafkaConnectionError, match=str(port)):
        await started(client, connections, patience_s=1.0)
