"""The rows that this process wrote last, so that the next write of one may send only what changed."""

from __future__ import annotations

from typing import NamedTuple

from features.row_plan import Values


class Written(NamedTuple):
    """A row as it stands in the store if nobody else wrote it since: `stamp` says which write it was."""

    stamp: bytes
    guard: tuple[int, int]
    at_ms: int
    values: Values


class LastWritten:
    """The last row of each (view, key), the `limit` most lately written ones."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._rows: dict[tuple[str, str], Written] = {}

    def __len__(self) -> int:
        return len(self._rows)

    def take(self, view: str, key: str) -> Written | None:
        """Removes and returns a row: while a write of it is under way, nobody knows how it stands."""
        return self._rows.pop((view, key), None)

    def peek(self, view: str, key: str) -> Written | None:
        """A row as it was written last."""
        return self._rows.get((view, key))

    def keep(self, view: str, key: str, row: Written) -> None:
        """Remembers a row that the store has taken; the one written longest ago makes room."""
        self._rows[view, key] = row
        if len(self._rows) > self._limit:
            del self._rows[next(iter(self._rows))]
