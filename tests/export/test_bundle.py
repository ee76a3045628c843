import os
import random
import re

import pytest

from export import bundle
from export.bundle import CAPS, MANIFEST, BundleRejected

ALL = sorted([*CAPS, MANIFEST])


def refusal(directory, expected_sha256=None):
    with pytest.raises(BundleRejected) as caught:
        bundle.read(directory, expected_sha256)
    return caught.value


@pytest.mark.parametrize("name", ALL)
def test_any_flipped_byte_is_refused(bundle_copy, name):
    raw = (bundle_copy / name).read_bytes()
    rng = random.Random(name)
    for place in [0, len(raw) - 1, *(rng.randrange(len(raw)) for _ in range(10))]:
        flipped = bytearray(raw)
        flipped[place] ^= 1 << rng.randrange(8)
        (bundle_copy / name).write_bytes(flipped)
        assert refusal(bundle_copy).reason in {"wrong_content", "bad_manifest", "broken_seal"}
    (bundle_copy / name).write_bytes(raw)
    bundle.verify(bundle_copy)


@pytest.mark.parametrize("name", ALL)
def test_a_missing_file_is_refused_by_name(bundle_copy, name):
    (bundle_copy / name).unlink()
    assert name in str(refusal(bundle_copy))


@pytest.mark.parametrize("name", ALL)
def test_a_cut_or_grown_file_is_refused(bundle_copy, name):
    raw = (bundle_copy / name).read_bytes()
    for spoiled in (raw[:-1], raw + b" ", b""):
        (bundle_copy / name).write_bytes(spoiled)
        assert name.partition(".")[0] in str(refusal(bundle_copy))


@pytest.mark.parametrize("name", ALL)
def test_a_link_is_refused_even_to_the_right_bytes(bundle_copy, tmp_path, name):
    (bundle_copy / name).rename(tmp_path / "elsewhere")
    (bundle_copy / name).symlink_to(tmp_path / "elsewhere")
    assert refusal(bundle_copy).reason == "unreadable_file"


def test_a_pipe_is_refused_without_waiting(bundle_copy):
    (bundle_copy / "ranker.onnx").unlink()
    os.mkfifo(bundle_copy / "ranker.onnx")
    assert refusal(bundle_copy).reason == "unreadable_file"


def test_an_unknown_file_is_refused(bundle_copy):
    (bundle_copy / "ranker.onnx.data").write_bytes(b"weights")
    assert refusal(bundle_copy).reason == "unknown_file"


def test_a_file_over_its_cap_is_refused_before_it_is_read(bundle_copy):
    with (bundle_copy / "calibrator.json").open("r+b") as file:
        file.truncate(CAPS["calibrator.json"] + 1)
    assert refusal(bundle_copy).reason == "too_large"


@pytest.mark.parametrize("name", ["../ranker.onnx", "/etc/passwd", "sub/ranker.onnx", "ranker.onnx\0"])
def test_a_manifest_that_names_another_path_is_refused(bundle_copy, name):
    manifest = bundle.read_manifest(bundle_copy)
    files = {(name if key == "ranker.onnx" else key): entry for key, entry in manifest.files.items()}
    spoiled = bundle.sealed(manifest.model_copy(update={"files": files}))
    (bundle_copy / MANIFEST).write_bytes(bundle.canonical(spoiled))
    assert refusal(bundle_copy).reason == "wrong_files"


def test_a_resealed_manifest_is_refused_by_the_released_sha256(bundle_copy, built):
    released = bundle.read(built).manifest_sha256
    manifest = bundle.read_manifest(bundle_copy)
    spoiled = bundle.sealed(manifest.model_copy(update={"kb_version": "other"}))
    (bundle_copy / MANIFEST).write_bytes(bundle.canonical(spoiled))
    bundle.verify(bundle_copy)
    assert refusal(bundle_copy, released).reason == "wrong_manifest"


@pytest.mark.parametrize("raw", [b"", b"{", b"[]", b"null", b'{"files": 3}', b"\xff\xfe", b"[" * 100_000])
def test_a_manifest_that_is_none_is_refused(bundle_copy, raw):
    (bundle_copy / MANIFEST).write_bytes(raw)
    assert refusal(bundle_copy).reason == "bad_manifest"


def test_a_refusal_says_what_was_found_expected_and_what_to_do(tmp_path):
    told = str(refusal(tmp_path / "nowhere"))
    assert re.search("found manifest.json: No such file.*expected a regular file: keep serving", told)


def test_writing_is_all_or_nothing(built, tmp_path):
    opened = bundle.read(built)
    facts = bundle.Facts(**{name: getattr(opened.manifest, name) for name in bundle.Facts.model_fields})
    manifest = bundle.write(tmp_path / "again", opened.files, facts)
    assert manifest == opened.manifest
    with pytest.raises(OSError, match="not empty"):
        bundle.write(tmp_path / "again", opened.files, facts)
    assert [entry.name for entry in tmp_path.iterdir()] == ["again"]


def test_a_bundle_lacking_a_part_cannot_be_written(built, tmp_path):
    opened = bundle.read(built)
    facts = bundle.Facts(**{name: getattr(opened.manifest, name) for name in bundle.Facts.model_fields})
    with pytest.raises(ValueError, match="give each of them"):
        bundle.write(tmp_path / "half", {"ranker.onnx": b"x"}, facts)
    assert not list(tmp_path.iterdir())
