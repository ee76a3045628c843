import ssl

import pytest
import trustme
from kafka import KafkaConsumer

from features.access import AccessRefused, tls_context
from features.kafka_access import is_admitted
from features.kafka_client import aiokafka_arguments, kafka_python_arguments, open_kafka
from features.settings import Connections

SASL = {"kafka_security_protocol": "SASL_SSL", "kafka_sasl_username": "ada", "kafka_sasl_password": "s3cret"}


def test_both_clients_are_told_the_user_and_verify_certificate_and_name():
    for arguments in (aiokafka_arguments(Connections(**SASL)), kafka_python_arguments(Connections(**SASL))):
        context = arguments.pop("ssl_context")
        assert (context.verify_mode, context.check_hostname) == (ssl.CERT_REQUIRED, True)
        assert arguments == {
            "bootstrap_servers": "127.0.0.1:9092",
            "security_protocol": "SASL_SSL",
            "sasl_mechanism": "PLAIN",
            "sasl_plain_username": "ada",
            "sasl_plain_password": "s3cret",
        }


def test_an_authority_of_our_own_is_the_only_one(tmp_path):
    trustme.CA().cert_pem.write_to_path(tmp_path / "ca.pem")
    assert len(tls_context("KAFKA", tmp_path / "ca.pem", None, None).get_ca_certs()) == 1


@pytest.mark.parametrize(
    "holds", ["", "not a certificate", "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----"]
)
def test_a_file_without_certificates_is_named(tmp_path, holds):
    (tmp_path / "ca.pem").write_text(holds)
    with pytest.raises(AccessRefused, match=r"KAFKA_SSL_CAFILE names .*ca\.pem, which holds no certificate"):
        aiokafka_arguments(Connections(**SASL, kafka_ssl_cafile=tmp_path / "ca.pem"))


def test_a_certificate_without_its_key_is_named(tmp_path):
    trustme.CA().cert_pem.write_to_path(tmp_path / "own.pem")
    with pytest.raises(AccessRefused, match=r"REDIS_SSL_CERTFILE .*own.pem and its key in the same file do not load"):
        tls_context("REDIS", None, tmp_path / "own.pem", None)


def test_a_broker_without_security_is_opened_as_before(topics):
    with_default_settings = open_kafka(KafkaConsumer, topics)
    assert topics.named("rgalign.kb.v1") in with_default_settings.topics()
    with_default_settings.close()


async def test_a_broker_that_is_away_may_come():
    assert not await is_admitted(aiokafka_arguments(Connections(kafka_url="127.0.0.1:9,127.0.0.1:10")))


async def test_one_of_several_brokers_is_enough(kafka_url):
    assert await is_admitted(aiokafka_arguments(Connections(kafka_url=f"127.0.0.1:9,{kafka_url}")))
