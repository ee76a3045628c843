"""The sizes of a QE-Rec model."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class QERecShape:
    """Everything that fixes the sizes of a model; a checkpoint carries it."""

    numeric: int
    categories: tuple[int, ...]
    event_kinds: int
    sequence: int
    text_width: int
    query_width: int
    intents: int
    families: int
    width: int = 64
    heads: int = 4
    experts: int = 4
    expert_width: int = 16
    query_hidden: int = 128
    query_null_share: float = 0.15
    id_drop_share: float = 0.3
    dropout: float = 0.2
