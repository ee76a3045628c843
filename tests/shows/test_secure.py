"""Kafka with TLS and users, Redis with TLS and an ACL user: the roles work, and say why where they are not let in."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from aiokafka import AIOKafkaProducer
from kafka import KafkaAdminClient, KafkaConsumer
from kafka.admin import ScramMechanism, UserScramCredentialUpsertion
from redis.exceptions import ResponseError

from features import kafka_access, redis_access
from features.access import AccessRefused
from features.definitions import apply
from features.kafka_client import aiokafka_arguments, open_kafka
from features.querycache import QueryCache
from features.redis_client import open_redis
from features.settings import WITHOUT_SECURITY, Connections
from features.views import USER_ACTIVITY, project
from stream import topics
from stream.connecting import started
from tests.shows.deployment import ROOT, Deployment
from tests.shows.secure import PASSWORD, USER, Secure, secure_services
from tests.stream import stage

pytestmark = pytest.mark.timeout(600)

NO_USER = {"kafka_sasl_username": "", "kafka_sasl_password": ""}
OPEN = {name: value for name, value in WITHOUT_SECURITY.items() if name.startswith("kafka")}
PREFIX = f"t{uuid.uuid4().hex[:12]}"


@pytest.fixture(scope="module")
def secure(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Secure]:
    with secure_services(tmp_path_factory.mktemp("secure")) as services:
        yield services


@pytest.fixture(scope="module")
def deployment(secure: Secure, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Deployment]:
    """Gateway and worker on the secure services."""
    folder = tmp_path_factory.mktemp("shows")
    running = Deployment(secure.connections(prefix=PREFIX, registry=folder / "registry"), folder / "logs")
    try:
        topics.create(running.connections)
        stage.released(running.connections, stage.draft(folder))
        yield running.start("gateway", "worker")
    finally:
        running.close()


@pytest.fixture(scope="module")
def refused(secure: Secure) -> dict[str, subprocess.CompletedProcess[str]]:
    """What becomes of roles and commands that are told something wrong, all at once."""
    wrong_user = {"kafka_sasl_password": "wrong"}
    told: dict[str, tuple[tuple[str, ...], dict[str, Any]]] = {
        "worker at kafka": (("worker",), wrong_user),
        "worker at redis": (("worker",), {"redis_url": secure.redis_url(password="wrong")}),
        "embedder": (("embedder",), {"redis_ssl_cafile": secure.file("other-ca.pem")}),
        "gateway": (("gateway",), {"kafka_ssl_cafile": secure.file("other-ca.pem")}),
        "topics": (("topics", "list"), OPEN),
        "doctor": (("doctor",), wrong_user | {"redis_url": secure.redis_url(password="wrong")}),
    }
    running = {name: _rgalign(words, secure.connections(**changes)) for name, (words, changes) in told.items()}
    return {name: _ended(process) for name, process in running.items()}


def _rgalign(words: tuple[str, ...], connections: Connections) -> subprocess.Popen[str]:
    env = {
        **os.environ,
        **connections.environment(),
        "RGALIGN_HTTP_PORT": "0",
        "PYTHONPATH": str(ROOT),
        "COLUMNS": "500",
    }
    argv = [sys.executable, "-m", "deploy.cli", *words]
    return subprocess.Popen(argv, env=env, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)


def _ended(process: subprocess.Popen[str]) -> subprocess.CompletedProcess[str]:
    try:
        said, _ = process.communicate(timeout=60)
    finally:
        process.kill()
    return subprocess.CompletedProcess(process.args, process.returncode, said)


def test_an_event_in_is_a_decision_out(deployment: Deployment) -> None:
    assert deployment.post({"id": "s-1", "user": "sue", "type": "help_page_opened", "data": {"topic": "Returns"}})
    decision = deployment.decided(["s-1"])["s-1"]
    assert decision.key == "demo:sue"
    assert stage.counted(deployment.connections, 1).applied == 1


def test_feast_reads_over_the_same_connection(deployment: Deployment, tmp_path: Path) -> None:
    deployment.post({"id": "s-2", "user": "fay", "type": "help_page_opened", "data": {"topic": "Returns"}})
    deployment.decided(["s-2"])
    store = apply(tmp_path / "registry.db", project(PREFIX), deployment.connections.redis_address, tmp_path / "offline")
    feature = f"{USER_ACTIVITY.name}:session_events"
    found = store.get_online_features(features=[feature], entity_rows=[{"shopper_id": "demo:fay"}]).to_dict()
    assert found["session_events"] == [1]


@pytest.mark.parametrize(
    "command", ["FLUSHALL", "FLUSHDB", "CONFIG GET *", "DEBUG JMAP", "KEYS *", "ACL LIST", "SHUTDOWN"]
)
async def test_the_acl_user_may_not_harm_the_store(secure: Secure, command: str) -> None:
    async with open_redis(secure.connections()) as redis:
        with pytest.raises(ResponseError, match=r"no permissions|not allowed"):
            await redis.execute_command(*command.split())


async def test_the_acl_user_may_keep_latent_queries(secure: Secure) -> None:
    connections = secure.connections(prefix=PREFIX)
    async with open_redis(connections) as redis:
        cache = QueryCache(redis, connections)
        await cache.write_base("base", {"hash": np.ones(4, np.float32)}, at_ms=1)
        await cache.set_ready("space", 0.5)
        assert await cache.known("base") == ["hash"]
        assert await cache.asked("base") == {"hash": 1.0}
        assert await cache.ready("space") == 0.5
        await cache.forget_ready("space")
        await cache.set_alive(["space"])
        assert (await cache.ready("space"), await cache.is_alive("space")) == (None, True)


def test_scram_lets_in_by_the_password_alone(secure: Secure) -> None:
    admin = KafkaAdminClient(bootstrap_servers=secure.url("plain"))
    known = UserScramCredentialUpsertion("scram", ScramMechanism.SCRAM_SHA_512, PASSWORD, iterations=4096)
    assert admin.alter_user_scram_credentials([known]) == {"scram": None}
    admin.close()
    told = {"kafka_sasl_mechanism": "SCRAM-SHA-512", "kafka_sasl_username": "scram"}
    open_kafka(KafkaConsumer, secure.connections(**told)).close()
    with pytest.raises(AccessRefused, match="KAFKA_SASL_PASSWORD"):
        open_kafka(KafkaConsumer, secure.connections(**told, kafka_sasl_password="wrong"))


async def test_a_certificate_of_our_own_lets_in(secure: Secure) -> None:
    told = {"kafka_url": secure.url("tls"), "kafka_security_protocol": "SSL", **NO_USER}
    own = secure.connections(**told, kafka_ssl_certfile=secure.file("client.pem"))
    assert await kafka_access.is_admitted(aiokafka_arguments(own))
    with pytest.raises(AccessRefused, match="set KAFKA_SSL_CERTFILE"):
        await kafka_access.is_admitted(aiokafka_arguments(secure.connections(**told)))


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"kafka_sasl_password": "wrong"}, "refused user 'worker' (PLAIN): check KAFKA_SASL_USERNAME, KAFKA_SASL"),
        ({"kafka_sasl_mechanism": "SCRAM-SHA-256"}, "does not offer SCRAM-SHA-256: set KAFKA_SASL_MECHANISM"),
        ({"kafka_ssl_cafile": "other-ca.pem"}, "(unable to get local issuer certificate): set KAFKA_SSL_CAFILE"),
        ({"kafka_ssl_cafile": None}, "(unable to get local issuer certificate): set KAFKA_SSL_CAFILE"),
        ({"kafka_ssl_cafile": "none.pem"}, "where no file is; expected a PEM file"),
        ({"kafka_url": ("sasl", "localhost")}, "Hostname mismatch, certificate is not valid for 'localhost'"),
        (OPEN, "speaks TLS, and KAFKA_SECURITY_PROTOCOL is PLAINTEXT: set KAFKA_SECURITY_PROTOCOL"),
        ({"kafka_url": ("plain",)}, "does not speak TLS, and KAFKA_SECURITY_PROTOCOL is SASL_SSL"),
        ({"kafka_security_protocol": "SSL", **NO_USER}, "asks for a user, and KAFKA_SECURITY_PROTOCOL is SSL"),
        ({"kafka_url": ("tls",), "kafka_ssl_certfile": "client.pem"}, "takes no user and password"),
    ],
)  # fmt: skip
async def test_kafka_refuses_in_words_that_say_what_to_set(secure: Secure, changes: dict[str, Any], words: str) -> None:
    with pytest.raises(AccessRefused) as refusal:
        await kafka_access.is_admitted(aiokafka_arguments(secure.connections(**_found(secure, changes))))
    assert words in str(refusal.value)
    assert PASSWORD not in str(refusal.value)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"redis_url": {"password": "wrong"}}, f"refused user '{USER}'"),
        ({"redis_url": {"user": "stranger"}}, "check user and password in REDIS_URL"),
        ({"redis_ssl_cafile": "other-ca.pem"}, "): set REDIS_SSL_CAFILE to the authority"),
        ({"redis_ssl_cafile": None}, "is not trusted"),
        ({"redis_ssl_cafile": "none.pem"}, "where no file is; expected a PEM file"),
        ({"redis_url": {"host": "localhost"}}, "Hostname mismatch, certificate is not valid for 'localhost'"),
        ({"redis_url": {"scheme": "redis"}, "redis_ssl_cafile": None}, "speaks TLS: begin REDIS_URL with rediss://"),
        ({"redis_url": {"port": "redis_plain"}}, "does not speak TLS: name its TLS port in REDIS_URL"),
    ],
)  # fmt: skip
async def test_redis_refuses_in_words_that_say_what_to_set(secure: Secure, changes: dict[str, Any], words: str) -> None:
    with pytest.raises(AccessRefused) as refusal:
        await redis_access.is_admitted(secure.connections(**_found(secure, changes)))
    assert words in str(refusal.value)
    assert PASSWORD not in str(refusal.value)


def _found(secure: Secure, changes: dict[str, Any]) -> dict[str, Any]:
    """The changes with the addresses and files of these services."""
    made = dict(changes)
    for name, value in changes.items():
        if name.endswith("file") and value:
            made[name] = secure.file(value)
        elif name == "kafka_url":
            made[name] = secure.url(*value)
        elif name == "redis_url":
            made[name] = secure.redis_url(**value)
    return made


async def test_a_client_that_is_refused_is_not_started_again_and_again(secure: Secure) -> None:
    wrong = secure.connections(kafka_sasl_password="wrong")
    async with asyncio.timeout(20):
        with pytest.raises(AccessRefused, match="KAFKA_SASL_PASSWORD"):
            await started(AIOKafkaProducer(**aiokafka_arguments(wrong)), wrong, patience_s=1000)


@pytest.mark.parametrize(
    ("who", "words"),
    [
        ("worker at kafka", "refused user 'worker' (PLAIN): check KAFKA_SASL_USERNAME, KAFKA_SASL_PASSWORD"),
        ("worker at redis", "check user and password in REDIS_URL"),
        ("embedder", "set REDIS_SSL_CAFILE"),
        ("gateway", "set KAFKA_SSL_CAFILE"),
        ("topics", "set KAFKA_SECURITY_PROTOCOL"),
        ("doctor", "check KAFKA_SASL_USERNAME, KAFKA_SASL_PASSWORD"),
        ("doctor", "check user and password in REDIS_URL"),
    ],
)
def test_a_process_that_is_refused_ends_and_says_what_to_set(
    refused: dict[str, subprocess.CompletedProcess[str]], who: str, words: str
) -> None:
    assert refused[who].returncode == 1
    assert words in refused[who].stdout
    assert PASSWORD not in refused[who].stdout
