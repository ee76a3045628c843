"""A fit that can be stopped and go on: everything that the next epoch depends on, kept after each epoch.

The file says what it belongs to - seed, schedule, the digest of the requests, and the log's offsets where they were
read from one - so that a fit never goes on with other examples than it began with.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor


class ResumptionMismatch(ValueError):
    """A kept fit that belongs to something else than the one that is asked for."""


@dataclass(frozen=True)
class Resumption:
    """Where a fit is kept, and the log offsets {"topic[partition]": "first:end"} its examples were read from."""

    path: Path
    offsets: Mapping[str, str] = field(default_factory=dict)

    def keep(self, belongs: str, state: Mapping[str, Any]) -> None:
        """Writes the state of a fit in one step; nobody ever meets half of it."""
        hidden = self.path.with_name(f".{self.path.name}.{os.getpid()}")
        self.path.parent.mkdir(parents=True, exist_ok=True)
        torch.save({"belongs": belongs, "offsets": dict(self.offsets), "state": dict(state)}, hidden)
        hidden.replace(self.path)

    def kept(self, belongs: str) -> dict[str, Any] | None:
        """What `keep` wrote last; None when nothing was. Raises `ResumptionMismatch` when it is of another fit."""
        if not self.path.exists():
            return None
        told = torch.load(self.path, weights_only=True)
        found, expected = (told["belongs"], told["offsets"]), (belongs, dict(self.offsets))
        if found != expected:
            raise ResumptionMismatch(
                f"{self.path} keeps fit {found[0][:12]} of log {found[1]}, asked was fit {expected[0][:12]} of log "
                f"{expected[1]}: remove the file to begin anew, or ask for the fit that it keeps"
            )
        state: dict[str, Any] = told["state"]
        return state


def digest(tensors: tuple[Tensor, ...], *told: object) -> str:
    """The sha256 of tensors and of whatever else a fit depends on, in hex."""
    digester = hashlib.sha256(repr(told).encode())
    for tensor in tensors:
        digester.update(f"{tensor.dtype}{tuple(tensor.shape)}".encode())
        digester.update(tensor.detach().cpu().contiguous().numpy().tobytes())
    return digester.hexdigest()
