import json
import subprocess
import sys
import time

import pytest
import redis
from kafka import KafkaConsumer, KafkaProducer, TopicPartition
from kafka.admin import KafkaAdminClient, NewTopic

from deploy.embedded import Embedded, redis_command
from deploy.ports import PORTS, DataInUse, free_port, ports_of
from deploy.probes import kafka_answers, redis_answers
from stream.topics import TOPICS

NAMES = ("kafka", "controller", "redis")


def until(condition, deadline_s=30.0):
    deadline = time.monotonic() + deadline_s
    while not condition():
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.05)


def port_of(url):
    return int(url.removesuffix("/0").rpartition(":")[2])


def is_running(pid):
    state = subprocess.run(["ps", "-o", "stat=", "-p", str(pid)], capture_output=True, text=True, check=False).stdout
    return bool(state.strip()) and not state.startswith("Z")


def test_every_topic_of_the_project_can_be_created(topics):
    admin = KafkaAdminClient(bootstrap_servers=topics.kafka_url)
    try:
        assert {topics.named(topic.name) for topic in TOPICS} <= set(admin.list_topics())
    finally:
        admin.close()


def test_the_store_runs_a_script(redis_url, prefix):
    with redis.Redis.from_url(redis_url) as client:
        assert client.eval("return redis.call('INCRBY', KEYS[1], ARGV[1])", 1, f"{prefix}:n", 41) == 41


def test_ports_are_free_and_below_the_ephemeral_range(tmp_path):
    ports = ports_of(tmp_path, NAMES)
    assert len(set(ports.values())) == 3
    assert all(port in PORTS for port in ports.values())


def test_a_data_folder_keeps_its_ports(tmp_path):
    assert ports_of(tmp_path, NAMES) == ports_of(tmp_path, NAMES)


def test_a_data_folder_serves_once(tmp_path):
    with (
        Embedded().start(kafka=False, data_dir=tmp_path),
        pytest.raises(DataInUse, match=r"redis \d+.*stop the services"),
    ):
        Embedded().start(kafka=False, data_dir=tmp_path)


def test_stop_ends_the_service_and_its_temporary_data():
    services = Embedded().start(kafka=False)
    data, port = services.supervisor.log_path("redis").parent.parent, port_of(services.redis_url)
    services.stop()
    assert not redis_answers("127.0.0.1", port)
    assert not data.exists()


def test_nothing_answers_on_a_closed_port():
    port = free_port()
    assert not redis_answers("127.0.0.1", port)
    assert not kafka_answers("127.0.0.1", port)


def test_only_a_persistent_store_writes_to_disk(tmp_path):
    assert "everysec" in redis_command(tmp_path, 1, is_persistent=True)
    assert "everysec" not in redis_command(tmp_path, 1, is_persistent=False)


def test_a_killed_store_comes_back_on_its_port_with_its_data(tmp_path):
    with Embedded(restart=True).start(kafka=False, data_dir=tmp_path) as services:
        with redis.Redis.from_url(services.redis_url) as client:
            client.set("kept", "yes")
            until(lambda: client.info("persistence")["aof_pending_bio_fsync"] == 0)
        services.supervisor.kill("redis")
        until(lambda: services.supervisor.restarts("redis") == 1)
        services.supervisor.wait_ready("redis")
        with redis.Redis.from_url(services.redis_url) as client:
            assert client.get("kept") == b"yes"


def test_a_killed_broker_comes_back_on_its_port_with_every_acknowledged_record(tmp_path):
    with Embedded(restart=True).start(redis=False, data_dir=tmp_path) as services:
        _produce(services.kafka_url, 200)
        services.supervisor.kill("kafka")
        until(lambda: services.supervisor.restarts("kafka") == 1)
        services.supervisor.wait_ready("kafka")
        assert _end_offset(services.kafka_url) == 200


def test_one_of_three_brokers_may_die_and_two_take_every_record(tmp_path):
    with Embedded().start(redis=False, brokers=3, data_dir=tmp_path) as services:
        _produce(services.kafka_url, 100, replicas=3)
        services.cut("kafka-2")
        _append(services.kafka_url, 100)
        services.revive("kafka-2")
        assert _end_offset(services.kafka_url) == 200
        assert services.kafka_url.count(",") == 2


def _produce(url, count, replicas=1):
    admin = KafkaAdminClient(bootstrap_servers=url)
    admin.create_topics([NewTopic("kept", 1, replicas)])
    admin.close()
    _append(url, count)


def _append(url, count):
    producer = KafkaProducer(bootstrap_servers=url, acks="all")
    for sent in [producer.send("kept", str(i).encode()) for i in range(count)]:
        sent.get(20)
    producer.close()


def _end_offset(url):
    consumer = KafkaConsumer(bootstrap_servers=url, auto_offset_reset="earliest")
    partition = TopicPartition("kept", 0)
    try:
        return consumer.end_offsets([partition])[partition]
    finally:
        consumer.close()


PARENT = """
import json, sys, time
from deploy.embedded import Embedded
services = Embedded().start()
print(json.dumps([services.supervisor.pid(name) for name in ("kafka", "redis")]), flush=True)
time.sleep(600)
"""


def test_the_services_die_when_their_parent_is_killed():
    with subprocess.Popen([sys.executable, "-c", PARENT], stdout=subprocess.PIPE, text=True) as parent:
        pids = json.loads(parent.stdout.readline())
        assert all(is_running(pid) for pid in pids)
        parent.kill()
    until(lambda: not any(is_running(pid) for pid in pids), deadline_s=5)
