import pytest
from pydantic import ValidationError

from features.settings import WITHOUT_SECURITY, Connections

SASL = {"kafka_security_protocol": "SASL_SSL", "kafka_sasl_username": "ada", "kafka_sasl_password": "s3cret"}
EVERYTHING = {
    **SASL,
    "kafka_sasl_mechanism": "SCRAM-SHA-512",
    "kafka_ssl_cafile": "/etc/ca.pem",
    "redis_url": "rediss://ada:s3cret@shop:6380/2",
    "redis_ssl_cafile": "/etc/ca.pem",
    "prefix": "t1",
}


def test_another_process_gets_the_same_connections(monkeypatch):
    told = Connections(**EVERYTHING)
    for name, value in told.environment().items():
        monkeypatch.setenv(name, value)
    assert Connections() == told


def test_what_is_not_set_overrules_the_environment_of_a_child(monkeypatch):
    monkeypatch.setenv("KAFKA_SSL_CAFILE", "/etc/other.pem")
    plain = Connections(**WITHOUT_SECURITY)
    for name, value in plain.environment().items():
        monkeypatch.setenv(name, value)
    assert Connections() == plain


def test_no_password_is_shown():
    told = Connections(**EVERYTHING)
    assert "s3cret" not in f"{told!r} {told} {told.redis_place}"
    with pytest.raises(ValidationError) as refusal:
        Connections(**{**EVERYTHING, "kafka_security_protocol": "PLAINTEXT"})
    assert "s3cret" not in str(refusal.value)


@pytest.mark.parametrize(
    ("told", "words"),
    [
        ({**SASL, "kafka_sasl_password": ""}, "set KAFKA_SASL_USERNAME and KAFKA_SASL_PASSWORD"),
        ({**SASL, "kafka_security_protocol": "SSL"}, "set KAFKA_SECURITY_PROTOCOL=SASL_SSL"),
        ({"kafka_security_protocol": "SASL_PLAINTEXT"}, "'PLAINTEXT', 'SSL' or 'SASL_SSL'"),
        ({"kafka_sasl_mechanism": "GSSAPI"}, "'SCRAM-SHA-512'"),
        ({"kafka_ssl_cafile": "/ca.pem"}, "set KAFKA_SECURITY_PROTOCOL=SSL or SASL_SSL"),
        ({"kafka_security_protocol": "SSL", "kafka_ssl_keyfile": "/k.pem"}, "set KAFKA_SSL_CERTFILE, too"),
        ({"redis_ssl_cafile": "/ca.pem"}, "set a REDIS_URL of rediss://"),
        ({"redis_url": "rediss://shop?ssl_cert_reqs=none"}, "always verified"),
        ({"redis_url": "rediss://shop?ssl_check_hostname=false"}, "always verified"),
        ({"redis_url": "shop:6379"}, "expected redis://host:port/db"),
    ],
)
def test_what_makes_no_sense_is_refused_with_what_to_set(told, words):
    with pytest.raises(ValidationError) as refusal:
        Connections(**told)
    assert words in str(refusal.value)


def test_nothing_is_encrypted_unless_it_is_asked_for():
    assert {name: getattr(Connections(), name) for name in WITHOUT_SECURITY} == WITHOUT_SECURITY
