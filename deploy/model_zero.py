"""Model v0: trained on the first simulated day only, built once from a seed and kept by content."""

from __future__ import annotations

import ast
import hashlib
import shutil
from collections import Counter
from collections.abc import Iterable
from pathlib import Path

import numpy as np

from deploy.building import Built, Material, checkpoint_path, train_and_publish
from deploy.fetch import fetch
from deploy.screen import Advance
from export.registry import Registry
from features.adapter import Adapter
from features.knowledge import KnowledgeBase, load
from features.prompt import state_hash
from features.settings import Connections
from features.vectors import Source, embed_kept, ensure_intent_vectors, sources
from training.words import PHRASES

SEED = 7
SESSIONS = 5000
"""Visits of the first day: about 1,500 clicks, and still something left to learn."""
MAX_PROMPTS = 400
"""How many of the day's prompts are embedded, those of five requests in six; the others have the null query."""

_CODE = ("features", "training", "export")


def prepare(cache: Path, seed: int = SEED, progress: Advance = lambda *_: None) -> Built:
    """Everything the network or much time is needed for: jars, models, intent vectors and model v0, all in `cache`."""
    fetch(cache, progress)
    kb = load()
    text, reasoner = sources(cache, progress)
    home = Registry(cache / "model-zero" / _key(kb, text, reasoner, seed))
    if home.versions():
        version = home.versions()[-1]
        return Built(version, home.path(version), checkpoint_path(home, version))
    return _build(kb, cache, (text, reasoner), home, seed=seed, progress=progress)


def ensure_model_zero(connections: Connections, seed: int = SEED, progress: Advance = lambda *_: None) -> Built:
    """Model v0 in this deployment's registry, built if it never was."""
    made = prepare(connections.cache, seed, progress)
    registry = Registry(connections.registry)
    registry.publish(made.folder)
    version = next(v for v in registry.versions() if v.partition("-")[2] == made.version.partition("-")[2])
    kept = checkpoint_path(registry, version)
    kept.parent.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(made.checkpoint, kept)
    return Built(version, registry.path(version), kept)


def _build(
    kb: KnowledgeBase, cache: Path, encoders: tuple[Source, Source], home: Registry, *, seed: int, progress: Advance
) -> Built:
    from training.dataset import build
    from training.first_day import first_day

    text, reasoner = encoders
    vectors = ensure_intent_vectors(kb, cache, text, reasoner, _named("embed the knowledge base", progress))
    progress("live through the first day", 0, 1)
    logged = first_day(kb, seed, SESSIONS)
    progress("live through the first day", 1, 1)
    prompts = most_asked(row.prompt for row in logged)
    states = embed_kept(prompts, cache, reasoner, _named("embed the day's prompts", progress))
    material = Material(kb, vectors, reasoner.base_id, dict(zip(map(state_hash, prompts), states, strict=True)))
    outcomes = (outcome for row in logged for outcome in row.outcomes)
    dataset = build((row.decision for row in logged), outcomes, material.intent_ids)
    adapter = Adapter.identity(np.asarray(states.mean(axis=0), np.float32), seed=seed)
    return train_and_publish(
        material, dataset, adapter, home, cache=cache, seed=seed, note="the first simulated day", progress=progress
    )


def most_asked(prompts: Iterable[str], size: int = MAX_PROMPTS) -> list[str]:
    """At most `size` different prompts, those of most requests; equally frequent ones in the order of their text.

    Neither outcomes nor time decide: the part that trains and the later one that calibrates have like shares.

    >>> most_asked(["b", "a", "b", "c"], 2)
    ['b', 'a']
    """
    return [prompt for prompt, _ in Counter(sorted(prompts)).most_common(size)]


def _named(name: str, progress: Advance) -> Advance:
    """The same progress under a name that says what is embedded."""
    return lambda _what, done, total: progress(name, done, total)


def _key(kb: KnowledgeBase, text: Source, reasoner: Source, seed: int) -> str:
    """What model v0 depends on: the data, the frozen models, the seed and what our own code does (not its wording)."""
    told = [kb.version, text.base_id, reasoner.base_id, str(seed), str(SESSIONS), str(MAX_PROMPTS)]
    digest = hashlib.sha256("\n".join(told).encode())
    root = Path(__file__).parent.parent
    for path in (Path(__file__), *sorted(path for room in _CODE for path in (root / room).rglob("*.py"))):
        digest.update(_without_words(path.read_text()))
    digest.update(PHRASES.read_bytes())
    return digest.hexdigest()[:16]


def _without_words(code: str) -> bytes:
    """The code as a tree, without comments, layout and docstrings."""
    tree = ast.parse(code)
    for node in ast.walk(tree):
        body = getattr(node, "body", None)
        if isinstance(body, list):
            node.body = [part for part in body if not _is_words(part)]  # type: ignore[attr-defined]
    return ast.dump(tree).encode()


def _is_words(node: ast.AST) -> bool:
    return isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str)


if __name__ == "__main__":
    from deploy.screen import console
    from deploy.screen import progress as bars

    with bars(console()) as advance:
        prepare(Connections().cache, progress=advance)
