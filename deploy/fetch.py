"""Everything that the network is needed for after the install: the broker's jars and the two small models."""

from __future__ import annotations

from pathlib import Path

from deploy.jars import Progress, ensure_jars


def fetch(cache: Path, advance: Progress = lambda *_: None) -> None:
    """Brings into the cache what is not there yet, each file checked against a committed sha256."""
    from features.models import ensure_reasoner, ensure_text_encoder

    ensure_jars(cache, advance)
    ensure_reasoner(cache, advance)
    ensure_text_encoder(cache, advance)
