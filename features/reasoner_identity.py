"""What names the space of a reasoner's states: weights, tokenizer, prompt, pooling and mode, and the reference's dtype.

Backend, device and dtype are no part of it: another one than the reference serves the space with a parity record.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator
from functools import lru_cache
from pathlib import Path

from features.prompt import FORM, SLOT

REFERENCE = "torch fp32 cpu"
"""The backend, dtype and device whose states define a space."""

_NOT_MEANING = {"_name_or_path", "architectures", "dtype", "torch_dtype", "transformers_version", "use_cache"}


class NotAModel(ValueError):
    """A folder without what a causal language model needs."""


def reasoner_identity(folder: Path, mode: str, ask: str) -> str:
    """The base_id: 64 hex digits. `ask` is the wording that mode G adds. Raises `NotAModel`."""
    ways = [f"reference {REFERENCE}", FORM, SLOT, "pooled at the slot's last token", f"mode {mode}"]
    return _sha256([*model_digests(folder), *ways, *([ask] if mode == "G" else [])])


def text_identity(folder: Path, *ways: str) -> str:
    """As `reasoner_identity`, for a model that reads plain texts."""
    return _sha256([*model_digests(folder), *ways])


def model_digests(folder: Path) -> list[str]:
    """The sha256 of a model folder's weights (every shard), of its tokenizer and of what its config means."""
    config = json.loads(_existing(folder, "config.json").read_text())
    meaning = {key: value for key, value in config.items() if key not in _NOT_MEANING}
    files = [*_shards(folder), _existing(folder, "tokenizer.json")]
    return [*map(_file_sha256, files), _sha256([json.dumps(meaning, sort_keys=True)])]


def _shards(folder: Path) -> Iterator[Path]:
    index = folder / "model.safetensors.index.json"
    if not index.exists():
        yield _existing(folder, "model.safetensors")
        return
    for name in sorted(set(json.loads(index.read_text())["weight_map"].values())):
        yield _existing(folder, name)


def _existing(folder: Path, name: str) -> Path:
    path = folder / name
    if not path.is_file():
        raise NotAModel(
            f"{folder} has no {name}; expected config.json, tokenizer.json and model.safetensors (or its shards with "
            "their index): save the model and its fast tokenizer there with save_pretrained"
        )
    return path


def _file_sha256(path: Path) -> str:
    status = path.stat()
    return _digest(path, status.st_size, status.st_mtime_ns)


@lru_cache(maxsize=256)
def _digest(path: Path, _size: int, _mtime_ns: int) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _sha256(parts: Iterable[str]) -> str:
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()
