"""Encodings kept by content: a stopped evaluation goes on where it was, a second one computes nothing."""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Callable, Sequence
from functools import lru_cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from features.models import Progress
from features.reasoner import Encoder
from features.vectors import Source, embed_kept

F32 = NDArray[np.float32]

_AT_ONCE = 64
"""So many texts are computed before they are kept."""


class _Costs:
    """How many texts were computed, and the seconds of wall time spent on them, kept in a file beside them."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def add(self, texts: int, seconds: float) -> None:
        """Counts more texts."""
        known_texts, known_seconds = self._told()
        self._path.parent.mkdir(parents=True, exist_ok=True)
        self._path.write_text(json.dumps([known_texts + texts, known_seconds + seconds]))

    @property
    def ms_per_text(self) -> float | None:
        """The mean over all that are kept; None before the first."""
        texts, seconds = self._told()
        return 1000 * seconds / texts if texts else None

    def _told(self) -> tuple[int, float]:
        texts, seconds = json.loads(self._path.read_text()) if self._path.exists() else (0, 0.0)
        return int(texts), float(seconds)


class KeptVectors:
    """An encoder that is loaded when a text is new, whose vectors and whose cost are kept under `cache`."""

    def __init__(self, source: Source, cache: Path) -> None:
        self._cache = cache
        self._costs = _Costs(cache / "vectors" / f"{source.base_id[:16]}.costs.json")
        self._source = Source(source.base_id, lru_cache(maxsize=1)(lambda: _Timed(source.load(), self._costs)))

    @property
    def ms_per_text(self) -> float | None:
        """What a text cost when it was computed, in ms of wall time."""
        return self._costs.ms_per_text

    def of(self, texts: Sequence[str], progress: Progress) -> F32:
        """Texts -> f32[B, width], in the order given; equal texts are computed once."""
        different = sorted(set(texts))
        vectors: dict[str, F32] = {}
        for start in range(0, len(different), _AT_ONCE):
            progress("embed", start, len(different))
            some = different[start : start + _AT_ONCE]
            vectors.update(zip(some, embed_kept(some, self._cache, self._source), strict=True))
        progress("embed", len(different), len(different))
        return np.stack([vectors[text] for text in texts])


class _Timed:
    """An encoder that notes its costs."""

    def __init__(self, encoder: Encoder, costs: _Costs) -> None:
        self._encoder, self._costs = encoder, costs
        self.base_id, self.width = encoder.base_id, encoder.width

    def embed(self, texts: Sequence[str], progress: Progress | None = None) -> F32:
        """As the encoder itself."""
        began_s = time.perf_counter()
        vectors = self._encoder.embed(texts, progress)
        self._costs.add(len(texts), time.perf_counter() - began_s)
        return vectors


class KeptTexts:
    """Generated texts, a line of JSON each under `cache`; `generate` gets the new ones, in small portions."""

    def __init__(self, name: str, generate: Callable[[Sequence[str]], list[str]], cache: Path) -> None:
        self._generate = generate
        self._path = cache / "queries" / f"{name[:16]}.jsonl"
        self._costs = _Costs(self._path.with_suffix(".costs.json"))

    @property
    def ms_per_text(self) -> float | None:
        """What a text cost when it was generated, in ms of wall time."""
        return self._costs.ms_per_text

    def of(self, texts: Sequence[str], progress: Progress) -> list[str]:
        """The text generated for each of `texts`, in the order given."""
        kept = self._kept()
        missing = [text for text in dict.fromkeys(texts) if _name(text) not in kept]
        for start in range(0, len(missing), _AT_ONCE // 2):
            progress("generate", start, len(missing))
            kept |= self._made(missing[start : start + _AT_ONCE // 2])
        progress("generate", len(missing), len(missing))
        return [kept[_name(text)] for text in texts]

    def _made(self, texts: Sequence[str]) -> dict[str, str]:
        began_s = time.perf_counter()
        made = dict(zip(map(_name, texts), self._generate(texts), strict=True))
        self._path.parent.mkdir(parents=True, exist_ok=True)
        with self._path.open("a") as file:
            file.writelines(json.dumps(pair) + "\n" for pair in made.items())
        self._costs.add(len(texts), time.perf_counter() - began_s)
        return made

    def _kept(self) -> dict[str, str]:
        """What was kept; a last line that a stop cut short is ignored."""
        if not self._path.exists():
            return {}
        whole = [line for line in self._path.read_text().splitlines(keepends=True) if line.endswith("\n")]
        return dict(json.loads(line) for line in whole)


def _name(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()
