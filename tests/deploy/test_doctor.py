import pytest

from deploy import doctor
from features.settings import Connections


def by_name(found):
    return {check.name: check for check in found}


def test_this_environment_is_healthy():
    found = by_name(doctor.checks())
    assert all(found[name].ok for name in ("Python", "ONNX Runtime", "Java", "Valkey"))


def test_both_onnxruntimes_at_once_are_refused():
    check = doctor.onnxruntime("1.31.1", "1.31.1")
    assert not check.ok
    assert "rm -rf .venv" in check.advice


@pytest.mark.parametrize(("cpu", "gpu"), [("1.31.1", None), (None, "1.31.1")])
def test_either_onnxruntime_alone_is_right(cpu, gpu):
    assert doctor.onnxruntime(cpu, gpu).ok


def test_an_untested_python_is_named():
    check = doctor.python((3, 13))
    assert not check.ok
    assert check.found == "Python 3.13"


def test_an_empty_cache_says_when_it_fills(tmp_path):
    found = by_name(doctor.checks(Connections(cache=tmp_path)))
    assert not found["Kafka's jars"].ok
    assert not found["Reasoner"].ok
    assert "make demo" in found["Reasoner"].advice


def test_services_are_asked_only_when_the_environment_names_them(monkeypatch):
    monkeypatch.delenv("KAFKA_URL", raising=False)
    monkeypatch.delenv("REDIS_URL", raising=False)
    assert list(doctor.services(Connections())) == []


def test_named_services_that_answer_are_ok(monkeypatch, kafka_url, redis_url):
    monkeypatch.setenv("KAFKA_URL", kafka_url)
    monkeypatch.setenv("REDIS_URL", redis_url)
    assert [check.ok for check in doctor.services(Connections())] == [True, True]


def test_named_services_that_are_away_are_told(monkeypatch):
    monkeypatch.setenv("KAFKA_URL", "127.0.0.1:9")
    monkeypatch.setenv("REDIS_URL", "redis://127.0.0.1:9/0")
    assert [check.ok for check in doctor.services(Connections())] == [False, False]
