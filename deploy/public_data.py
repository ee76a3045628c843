"""Where the public data for reports lies: it is no part of this project, and a report says when it is not there."""

from __future__ import annotations

from pathlib import Path

NEAR = Path("../shared/data")
"""Where it is looked for when nothing is told."""


def public_data(told: Path | None) -> Path | None:
    """The told folder, else `NEAR` if it exists, else None. Raises FileNotFoundError for a told folder that is none."""
    if told is None:
        return NEAR if NEAR.is_dir() else None
    if not told.is_dir():
        raise FileNotFoundError(
            f"--data or RGALIGN_DATA names {told}, which is no folder; expected the folder that holds abcd, bitext, ..."
        )
    return told
