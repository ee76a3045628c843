import hashlib

import pytest

from deploy.jars import JarsRejected, committed_sums, ensure_jars, folder, verify
from features.settings import Connections


@pytest.fixture
def two_jars(tmp_path):
    sums = {}
    for name in ("a.jar", "b.jar"):
        (tmp_path / name).write_bytes(name.encode())
        sums[name] = hashlib.sha256(name.encode()).hexdigest()
    return tmp_path, sums


def refused(jars, sums=None):
    """Why the jars are refused; None when they pass."""
    try:
        verify(jars, sums) if sums else verify(jars)
    except JarsRejected as error:
        return str(error)
    return None


def test_the_committed_list_names_45_jars_by_sha256():
    sums = committed_sums()
    assert len(sums) == 45
    assert all(name.endswith(".jar") and len(digest) == 64 for name, digest in sums.items())


def test_jars_equal_to_the_list_pass(two_jars):
    assert refused(*two_jars) is None


def test_one_flipped_byte_is_refused_and_says_what_to_do(two_jars):
    jars, sums = two_jars
    (jars / "a.jar").write_bytes(b"A.jar")
    with pytest.raises(JarsRejected, match=r"a\.jar has sha256 .*expected .*Delete .*run again"):
        verify(jars, sums)


def test_a_missing_jar_is_refused(two_jars):
    jars, sums = two_jars
    (jars / "b.jar").unlink()
    with pytest.raises(JarsRejected, match=r"b\.jar is missing"):
        verify(jars, sums)


def test_a_jar_that_nobody_listed_is_refused(two_jars):
    jars, sums = two_jars
    (jars / "evil.jar").write_bytes(b"")
    with pytest.raises(JarsRejected, match=r"evil\.jar is not on the list"):
        verify(jars, sums)


def test_a_planted_jar_in_the_cache_stops_the_start(tmp_path):
    folder(tmp_path).mkdir(parents=True)
    (folder(tmp_path) / "kafka-clients-4.4.0.jar").write_bytes(b"not the broker")
    with pytest.raises(JarsRejected, match="Nothing was started"):
        ensure_jars(tmp_path)


def test_the_cached_jars_are_the_committed_ones():
    assert refused(ensure_jars(Connections().cache)) is None
