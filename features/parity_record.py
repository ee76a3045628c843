"""The proof that a backend gives the reference's states, without which it serves no space (algorithm.md 2.8)."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, ValidationError

F32 = NDArray[np.float32]

CENTRED_COSINE = 0.98
"""The least that the worst prompt's two states may agree, each side's mean subtracted: raw cosine hides collapse."""

RECALL_POINTS = 1.0
"""The most that recall@3 may differ, in points of a hundred."""

_RECALL_AT = 3


class NoParity(RuntimeError):
    """A backend without a record, or with one that fails, for the space it was asked to serve."""


class ParityRecord(BaseModel):
    """What was measured, of whom, on what. `provider` is the backend as `Provider` writes it."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    base_id: str
    provider: str
    prompts_sha256: str
    prompts: int
    centred_cosine_min: float
    centred_cosine_mean: float
    recall_reference: float
    recall: float

    @property
    def holds(self) -> bool:
        """Whether the backend may serve the space."""
        return not self.faults

    @property
    def faults(self) -> list[str]:
        """What was found and what was expected, for each thing that fails."""
        points = 100 * abs(self.recall - self.recall_reference)
        return [
            text
            for is_fault, text in (
                (
                    self.centred_cosine_min < CENTRED_COSINE,
                    f"a centred cosine of {self.centred_cosine_min:.4f}, expected at least {CENTRED_COSINE}",
                ),
                (
                    points > RECALL_POINTS + 1e-9,
                    f"recall@3 that differs by {points:.1f} points, expected at most {RECALL_POINTS}",
                ),
            )
            if is_fault
        ]

    def told(self) -> str:
        """One line for people."""
        verdict = "may serve" if self.holds else f"may NOT serve: {' and '.join(self.faults)}"
        return (
            f"{self.provider}, {self.prompts} prompts: centred cosine min {self.centred_cosine_min:.4f}, mean "
            f"{self.centred_cosine_mean:.4f}; recall@3 {self.recall:.3f}, reference {self.recall_reference:.3f}: "
            f"{verdict} the space {self.base_id[:16]}"
        )


def agreement(reference: F32, found: F32) -> F32:
    """The cosine f32[B] of each row of two matrices [B, H], each centred by its own mean over the rows."""
    one, other = (states - states.mean(axis=0) for states in (reference, found))
    lengths = np.linalg.norm(one, axis=1) * np.linalg.norm(other, axis=1)
    return np.asarray((one * other).sum(axis=1) / np.maximum(lengths, 1e-12), np.float32)


def recall(queries: F32, intents: F32, truth: Sequence[int]) -> float:
    """recall@3 of queries f32[B, H] for their true rows of intents f32[N, H], by centred cosine."""
    sides = [states - states.mean(axis=0) for states in (queries, intents)]
    one, other = (side / np.maximum(np.linalg.norm(side, axis=1, keepdims=True), 1e-12) for side in sides)
    best = np.argsort(-(one @ other.T), axis=1, kind="stable")[:, :_RECALL_AT]
    return float((best == np.asarray(truth)[:, None]).any(axis=1).mean())


def stored(folder: Path, base_id: str, provider: str) -> ParityRecord | None:
    """The record kept under `folder` for a backend and a space; None when there is none that can be read."""
    return _read(_path(folder, base_id, provider))


def store(folder: Path, record: ParityRecord) -> Path:
    """Keeps a record, whether it holds or not, in place of an earlier one. Returns its file."""
    path = _path(folder, record.base_id, record.provider)
    path.parent.mkdir(parents=True, exist_ok=True)
    hidden = path.with_name(f".{path.name}.{os.getpid()}")
    hidden.write_text(record.model_dump_json(indent=2) + "\n")
    hidden.replace(path)
    return path


def known(folder: Path, base_id: str) -> dict[str, str]:
    """What each backend's record says of a space, by provider: for a bundle's notes."""
    found = (_read(path) for path in sorted(_home(folder, base_id).glob("*.json")))
    return {record.provider: record.told() for record in found if record is not None}


def require(folder: Path, base_id: str, provider: str) -> ParityRecord:
    """The record that lets a backend serve a space. Raises `NoParity`."""
    record = stored(folder, base_id, provider)
    if record is None:
        raise NoParity(
            f"{provider} has no parity record for the space {base_id[:16]} under {folder}; expected one that compares "
            "it with the reference: run `rgalign reasoner check` with the same settings, or unset them"
        )
    if record.faults:
        raise NoParity(
            f"{provider} may not serve the space {base_id[:16]}: found {' and '.join(record.faults)} "
            f"over {record.prompts} prompts: use another RGALIGN_REASONER_BACKEND or RGALIGN_REASONER_DTYPE"
        )
    return record


def _path(folder: Path, base_id: str, provider: str) -> Path:
    name = "-".join("".join(part if part.isalnum() else " " for part in provider).split())
    return _home(folder, base_id) / f"{name}.json"


def _home(folder: Path, base_id: str) -> Path:
    return folder / "reasoners" / "parity" / base_id[:16]


def _read(path: Path) -> ParityRecord | None:
    try:
        return ParityRecord.model_validate_json(path.read_bytes())
    except (OSError, ValidationError):
        return None
