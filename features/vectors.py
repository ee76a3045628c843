"""The two frozen vectors of every intent: t_i by the text encoder, b_i by the reasoner (algorithm.md 2.1)."""

from __future__ import annotations

import hashlib
import json
import os
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from features.file_lock import locked
from features.knowledge import Intent, KnowledgeBase
from features.models import Progress, chosen_reasoner, ensure_text_encoder
from features.prompt import intent_prompt
from features.reasoner import Encoder, TextEncoder, open_reasoner, reasoner_id, text_encoder_id
from features.reasoner_settings import ReasonerSettings

F32 = NDArray[np.float32]


class UnsoundVectors(ValueError):
    """An encoder gave vectors of another shape than asked for, or numbers that are not finite."""


@dataclass(frozen=True, slots=True, eq=False)
class IntentVectors:
    """Row i of `text` f32[N, 384] is t_i, row i of `state` f32[N, H] is b_i (raw) of the intent `ids[i]`."""

    ids: tuple[str, ...]
    text: F32
    state: F32

    @property
    def state_mean(self) -> F32:
        """The mean f32[H] of the intents' states: subtract it before any cosine."""
        return np.asarray(self.state.mean(axis=0), dtype=np.float32)


@dataclass(frozen=True, slots=True)
class Source:
    """An encoder that is loaded only if something must be computed; `base_id` is known without it."""

    base_id: str
    load: Callable[[], Encoder]


def sources(cache: Path, progress: Progress | None = None, threads: int = 1) -> tuple[Source, Source]:
    """The text encoder and the reasoner of this project, fetched into `cache` if absent."""
    report = progress or (lambda _what, _done, _total: None)
    settings = ReasonerSettings(threads=threads, cache=cache)
    text, reasoner = ensure_text_encoder(cache, report), chosen_reasoner(cache, settings.folder, report)
    return (
        Source(text_encoder_id(text), lambda: TextEncoder(text, threads=threads)),
        Source(reasoner_id(reasoner, settings), lambda: open_reasoner(reasoner, settings)),
    )


def text_input(intent: Intent) -> str:
    """What the text encoder reads of an intent."""
    return intent.canonical_text


def state_input(intent: Intent) -> str:
    """What the reasoner reads of an intent: its title, description and examples, ending in the prompts' slot."""
    return intent_prompt(intent)


def ensure_intent_vectors(
    kb: KnowledgeBase,
    cache: Path,
    text: Source | None = None,
    reasoner: Source | None = None,
    progress: Progress | None = None,
) -> IntentVectors:
    """The vectors of every intent in the order of `kb.intents`, of whatever status.

    They are kept by content under `cache`, a file an encoder: after an edit only the edited intent is computed.
    Without sources the project's own models are used.
    """
    if text is None or reasoner is None:
        own_text, own_reasoner = sources(cache, progress)
        text, reasoner = text or own_text, reasoner or own_reasoner
    ids = tuple(intent.id for intent in kb.intents)
    texts = embed_kept([text_input(intent) for intent in kb.intents], cache, text, progress)
    states = embed_kept([state_input(intent) for intent in kb.intents], cache, reasoner, progress)
    return IntentVectors(ids, texts, states)


def embed_kept(inputs: Sequence[str], cache: Path, source: Source, progress: Progress | None = None) -> F32:
    """f32[B, width]: each input's vector, computed once and kept under `cache` by the sha256 of the input.

    Raises `UnsoundVectors`; then nothing is kept.
    """
    path = cache / "vectors" / f"{source.base_id[:16]}.safetensors"
    kept = _read(path)
    names = [hashlib.sha256(text.encode()).hexdigest() for text in inputs]
    missing = {name: text for name, text in zip(names, inputs, strict=True) if name not in kept}
    if missing:
        encoder = source.load()
        vectors = encoder.embed(list(missing.values()), progress)
        if vectors.shape != (len(missing), encoder.width) or not np.isfinite(vectors).all():
            raise UnsoundVectors(
                f"{len(missing)} texts gave {vectors.dtype}{list(vectors.shape)}, finite: "
                f"{bool(np.isfinite(vectors).all())}; expected finite [{len(missing)}, {encoder.width}]: try again; "
                "if it stays so, delete the model's folder under RGALIGN_CACHE and it is fetched anew"
            )
        kept = _add(path, dict(zip(missing, vectors, strict=True)))
    return np.stack([kept[name] for name in names]) if names else np.empty((0, 0), dtype=np.float32)


def _read(path: Path) -> dict[str, F32]:
    from safetensors import safe_open  # noqa: PLC0415

    if not path.exists():
        return {}
    with safe_open(path, framework="numpy") as file:
        names: list[str] = json.loads(file.metadata()["names"])
        return dict(zip(names, file.get_tensor("vectors"), strict=True))


def _add(path: Path, vectors: Mapping[str, F32]) -> dict[str, F32]:
    """Everything that is kept once these are; processes that add at once wait for each other."""
    with locked(path.with_suffix(".lock")):
        kept = {**_read(path), **vectors}
        _write(path, kept)
    return kept


def _write(path: Path, vectors: Mapping[str, F32]) -> None:
    """Replaces the file in one step, so that a reader never meets half of it."""
    from safetensors.numpy import save_file  # noqa: PLC0415

    handle, scratch = tempfile.mkstemp(dir=path.parent, suffix=".tmp")
    os.close(handle)
    try:
        save_file({"vectors": np.stack(list(vectors.values()))}, scratch, metadata={"names": json.dumps(list(vectors))})
        Path(scratch).replace(path)
    finally:
        Path(scratch).unlink(missing_ok=True)
