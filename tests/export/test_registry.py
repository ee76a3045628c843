import re
from concurrent.futures import ThreadPoolExecutor

import pytest

from export import bundle
from export.bundle import BundleRejected, Facts
from export.registry import Registry, folder_of


@pytest.fixture
def registry(tmp_path):
    return Registry(tmp_path / "registry")


def variant(built, directory, number):
    """A bundle of other content."""
    opened = bundle.read(built)
    facts = Facts(**{name: getattr(opened.manifest, name) for name in Facts.model_fields})
    bundle.write(directory, {**opened.files, "calibrator.json": b'{"a": 1.0, "b": %d}' % number}, facts)
    return directory


def test_an_empty_registry_has_no_versions(registry):
    assert registry.versions() == []


def test_a_published_bundle_is_verified_under_its_version(registry, built):
    uri, sha256 = registry.publish(built)
    (version,) = registry.versions()
    assert re.fullmatch(r"v0001-[0-9a-f]{8}", version)
    assert bundle.verify(folder_of(uri), sha256).version == version
    assert registry.path(version) == folder_of(uri)


def test_the_same_content_again_is_the_same_version(registry, built):
    assert registry.publish(built) == registry.publish(built)
    assert len(registry.versions()) == 1


def test_versions_count_up_past_ten_thousand_in_order(registry, built, tmp_path):
    registry.publish(built)
    (registry.root / "v10000-00000000").mkdir()
    registry.publish(variant(built, tmp_path / "next", 3))
    assert [version[:6] for version in registry.versions()] == ["v0001-", "v10000", "v10001"]


def test_publishers_at_once_get_numbers_of_their_own(registry, built, tmp_path):
    folders = [variant(built, tmp_path / f"b{number}", number) for number in range(4)]
    with ThreadPoolExecutor(4) as pool:
        told = list(pool.map(registry.publish, folders))
    assert sorted(version[:5] for version in registry.versions()) == ["v0001", "v0002", "v0003", "v0004"]
    assert len({uri for uri, _ in told}) == 4


def test_a_number_claimed_by_a_publisher_that_died_is_skipped(registry, built):
    registry.root.mkdir()
    (registry.root / ".claim-v0001").touch()
    registry.publish(built)
    assert registry.versions()[0].startswith("v0002-")


def test_a_spoiled_bundle_is_not_published(registry, bundle_copy):
    (bundle_copy / "ranker.onnx").write_bytes(b"")
    with pytest.raises(BundleRejected):
        registry.publish(bundle_copy)
    assert registry.versions() == []


@pytest.mark.parametrize("version", ["v0009-00000000", "../elsewhere", ""])
def test_an_unknown_version_is_refused(registry, version):
    with pytest.raises(BundleRejected, match="no version"):
        registry.path(version)


@pytest.mark.parametrize("uri", ["https://example.org/b", "file://host/b", "s3://bucket/b"])
def test_a_uri_of_another_place_is_refused(uri):
    with pytest.raises(BundleRejected, match="bad_uri"):
        folder_of(uri)
