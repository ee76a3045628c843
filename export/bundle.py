"""The bundle: a folder that holds one release of ranker, intents, adapter and calibrator, sealed by its manifest.

Whatever is read has been checked first: names against a fixed list, sizes against caps, bytes against the manifest,
the manifest against its own seal and, when the caller knows it, against the released sha256. Verified bytes are
handed on in memory, so that nothing can change between the check and the use.
"""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import stat
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from types import MappingProxyType
from typing import Annotated, Any

import orjson
from pydantic import BaseModel, ConfigDict, Field, StringConstraints, ValidationError, model_validator

from features.contract import Sha256, Slug

MANIFEST = "manifest.json"
MIB = 2**20
CAPS: Mapping[str, int] = MappingProxyType(
    {
        "ranker.onnx": 64 * MIB,
        "intent_tower.onnx": 64 * MIB,
        "intents.safetensors": 64 * MIB,
        "adapter.safetensors": 16 * MIB,
        "calibrator.json": MIB // 16,
        "golden.safetensors": 8 * MIB,
    }
)
"""The files of a bundle, all of them required, and the most bytes each may have."""
MANIFEST_CAP = 4 * MIB
_WHAT_TO_DO = "keep serving the current bundle and publish a freshly built one"


class BundleRejected(ValueError):
    """A bundle that must not be served. `reason` is a short stable code: a metric label."""

    def __init__(self, reason: str, found: str, expected: str, do: str = _WHAT_TO_DO) -> None:
        super().__init__(f"bundle refused ({reason}): found {found}; expected {expected}: {do}")
        self.reason, self.found, self.expected, self.do = reason, found, expected, do


class FileEntry(BaseModel):
    """One file's content, as the manifest promises it."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    sha256: Sha256
    size: Annotated[int, Field(ge=1, le=64 * MIB)]


class Facts(BaseModel):
    """What a bundle says about itself; everything but its files and its version."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    created: datetime
    space_id: Sha256
    base_id: str
    adapter_id: str
    schema_fingerprint: str
    kb_version: str
    intent_ids: tuple[Slug, ...]
    intent_families: tuple[Slug, ...] = Field(description="the family of each intent, in the order of intent_ids")
    parity: Annotated[float, Field(ge=0)] = Field(description="max |torch - onnx| over the golden requests")
    metrics: dict[str, float] = {}
    notes: dict[str, str] = {}

    @model_validator(mode="after")
    def _has_a_family_each(self) -> Facts:
        if len(self.intent_ids) != len(self.intent_families) or len(set(self.intent_ids)) != len(self.intent_ids):
            raise ValueError("intent_ids must be unique and intent_families must name a family for each of them")
        return self


class Manifest(Facts):
    """The facts, the version and the files; `seal` is the sha256 of all the rest."""

    version: Annotated[str, StringConstraints(pattern=r"^(draft|v\d{4,})-[0-9a-f]{8}$")]
    files: dict[str, FileEntry]
    seal: str = ""

    @property
    def content(self) -> str:
        """The first 8 hex digits over the files: the part of a version that says which weights these are."""
        return _content(self.files)


@dataclass(frozen=True)
class Opened:
    """A verified bundle: its manifest, the manifest's sha256, and every file's bytes."""

    manifest: Manifest
    manifest_sha256: str
    files: Mapping[str, bytes]


def packed(parts: Mapping[str, bytes], facts: Facts) -> Opened:
    """A draft bundle in memory."""
    if set(parts) != set(CAPS):
        raise ValueError(f"a bundle has the files {sorted(CAPS)}, found {sorted(parts)}: give each of them")
    files = {name: FileEntry(sha256=_sha256(part), size=len(part)) for name, part in sorted(parts.items())}
    manifest = sealed(Manifest(**facts.model_dump(), version=f"draft-{_content(files)}", files=files))
    return Opened(manifest, _sha256(canonical(manifest)), MappingProxyType(dict(parts)))


def write(directory: Path, parts: Mapping[str, bytes], facts: Facts) -> Manifest:
    """Writes a draft bundle to `directory`, which must not exist. Returns its manifest."""
    draft = packed(parts, facts)
    place(directory, draft.files, draft.manifest)
    return draft.manifest


def place(directory: Path, parts: Mapping[str, bytes], manifest: Manifest) -> None:
    """Puts a bundle at `directory` all at once: temporary folder, fsync, rename. OSError when something is there."""
    directory.parent.mkdir(parents=True, exist_ok=True)
    staging = Path(tempfile.mkdtemp(prefix=".bundle-", dir=directory.parent))
    try:
        for name, part in {**parts, MANIFEST: canonical(manifest)}.items():
            _write_durably(staging / name, part)
        staging.rename(directory)
        _sync_folder(directory.parent)
    except BaseException:
        shutil.rmtree(staging, ignore_errors=True)
        raise


def read(directory: Path, expected_sha256: str | None = None) -> Opened:
    """Every byte of a bundle, verified. Raises `BundleRejected`; nothing has been parsed but the manifest."""
    raw = _manifest_bytes(directory, expected_sha256)
    manifest = _parsed(raw)
    _check_names(directory, manifest)
    files = {name: _file_bytes(directory, name, entry) for name, entry in manifest.files.items()}
    return Opened(manifest, _sha256(raw), MappingProxyType(files))


def verify(directory: Path, expected_sha256: str | None = None) -> Manifest:
    """Reads and checks everything and keeps the manifest. Raises `BundleRejected`."""
    return read(directory, expected_sha256).manifest


def read_manifest(directory: Path, expected_sha256: str | None = None) -> Manifest:
    """The manifest alone, against its seal and `expected_sha256`. Raises `BundleRejected`."""
    return _parsed(_manifest_bytes(directory, expected_sha256))


def sealed(manifest: Manifest) -> Manifest:
    """The manifest with its seal."""
    return manifest.model_copy(update={"seal": _seal(manifest)})


def canonical(manifest: Manifest) -> bytes:
    """The only bytes that a manifest may have on disk."""
    return orjson.dumps(manifest.model_dump(mode="json"), option=orjson.OPT_SORT_KEYS | orjson.OPT_INDENT_2)


def _write_durably(path: Path, content: bytes) -> None:
    """Writes and fsyncs one file."""
    with path.open("xb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())


def _sync_folder(folder: Path) -> None:
    """Makes renames inside `folder` durable."""
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _manifest_bytes(directory: Path, expected_sha256: str | None) -> bytes:
    raw = _regular_bytes(directory, MANIFEST, MANIFEST_CAP)
    if expected_sha256 is not None and _sha256(raw) != expected_sha256:
        raise BundleRejected("wrong_manifest", f"a manifest with sha256 {_sha256(raw)}", expected_sha256)
    return raw


def _parsed(raw: bytes) -> Manifest:
    try:
        manifest = Manifest.model_validate_json(raw)
    except ValidationError as error:
        fault = error.errors(include_url=False, include_input=False)[0]
        where = ".".join(map(str, fault["loc"]))
        raise BundleRejected("bad_manifest", f"{where or 'manifest'}: {fault['msg']}", "our manifest") from None
    if manifest.seal != _seal(manifest) or canonical(manifest) != raw:
        raise BundleRejected("broken_seal", "a manifest that was changed after it was sealed", f"seal {manifest.seal}")
    return manifest


def _check_names(directory: Path, manifest: Manifest) -> None:
    listed, expected = set(manifest.files), set(CAPS)
    if listed != expected:
        raise BundleRejected("wrong_files", f"a manifest of {_names(listed)}", _names(expected))
    present = {entry.name for entry in os.scandir(directory)}
    if missing := listed - present:
        raise BundleRejected("missing_file", f"no {_names(missing)}", "every file of the manifest")
    if unknown := present - listed - {MANIFEST}:
        raise BundleRejected("unknown_file", f"also {_names(unknown)}", "the manifest's files and nothing else")


def _file_bytes(directory: Path, name: str, entry: FileEntry) -> bytes:
    raw = _regular_bytes(directory, name, CAPS[name])
    if len(raw) != entry.size or _sha256(raw) != entry.sha256:
        found = f"{name} with {len(raw)} bytes, sha256 {_sha256(raw)}"
        raise BundleRejected("wrong_content", found, f"{entry.size} bytes, sha256 {entry.sha256}")
    return raw


def _regular_bytes(directory: Path, name: str, cap: int) -> bytes:
    """The bytes of a regular file of at most `cap` bytes; links are never followed."""
    try:
        handle = os.open(directory / name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError as error:
        raise BundleRejected("unreadable_file", f"{name}: {error.strerror}", "a regular file") from None
    with os.fdopen(handle, "rb") as file:
        status = os.fstat(file.fileno())
        if not stat.S_ISREG(status.st_mode):
            raise BundleRejected("unreadable_file", f"{name} that is no regular file", "a regular file")
        if status.st_size > cap:
            raise BundleRejected("too_large", f"{name} with {status.st_size} bytes", f"at most {cap}")
        return file.read(cap + 1)


def _names(names: set[str]) -> str:
    return ", ".join(ascii(re.sub(r"[^\w.-]", "?", name))[:80] for name in sorted(names)[:8]) or "nothing"


def _content(files: Mapping[str, FileEntry]) -> str:
    listing: dict[str, Any] = {name: entry.sha256 for name, entry in files.items()}
    return _sha256(orjson.dumps(listing, option=orjson.OPT_SORT_KEYS))[:8]


def _seal(manifest: Manifest) -> str:
    return _sha256(canonical(manifest.model_copy(update={"seal": ""})))


def _sha256(raw: bytes) -> str:
    return hashlib.sha256(raw).hexdigest()
