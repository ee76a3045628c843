"""`rgalign replay`: what a person asks for as a window of the log, and what they are told about the files."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from deploy.screen import Advance
from features.settings import Connections
from training.log_files import MANIFEST, Replayed, digest
from training.rebuild import Folded, log_digest
from training.replay import replay
from training.window import Window, WindowMalformed, moment_ms, offsets_asked


@dataclass(frozen=True, slots=True)
class Asked:
    """The window as typed: times as `training.window.moment_ms` takes them, offsets as `offsets_asked` does."""

    since: str | None = None
    until: str | None = None
    offsets: Sequence[str] = ()

    def window(self, connections: Connections, now_ms: int) -> Window:
        """The window that is meant. Raises `WindowMalformed`."""
        since_ms, until_ms = (None if text is None else moment_ms(text, now_ms) for text in (self.since, self.until))
        if since_ms is not None and since_ms > now_ms:
            raise WindowMalformed(f"--since {self.since} is in the future; expected a time that has passed")
        return Window(since_ms, until_ms, offsets_asked(self.offsets, connections) if self.offsets else None)


@dataclass(frozen=True, slots=True)
class Report:
    """A finished replay, and what it takes to get the same bytes again."""

    out: Path
    told: Replayed
    sha256: str
    seconds: float

    def describe(self) -> str:
        """Some lines for a person."""
        records = sum(self.told.records.values())
        lines = [f"{records:,} records in {self.seconds:.1f} s ({records / self.seconds:,.0f}/s), in {self.out}"]
        for source, spans in self.told.offsets.items():
            lines.append(
                f"  {source:<10} {self.told.records[source]:>12,} records, {self.told.faulty[source]:,} unreadable, "
                f"{sum(first < end for first, end in spans.values())} of {len(spans)} partitions"
            )
        if self.told.folded:
            lines += _folded(self.told.folded)
        again = self.out.with_name(f"{self.out.name}-again")
        lines.append(f"  sha256     {self.sha256}")
        lines.append(f"The same bytes again: rgalign replay {again} --offsets {self.out / MANIFEST}")
        return "\n".join(lines)


def _folded(folded: dict[int, Folded]) -> list[str]:
    ends = {
        name: sum(getattr(part, name) for part in folded.values())
        for name in ("applied", "late", "duplicate", "dead_lettered", "users")
    }
    told = ", ".join(f"{count:,} {name.replace('_', '-')}" for name, count in ends.items())
    return [f"  features   {told}", f"  states     sha256 {log_digest(folded)}"]


def run(
    connections: Connections, out: Path, asked: Asked, *, workers: int | None, is_folding: bool, progress: Advance
) -> Report:
    """Replays what was asked for. Raises `WindowMalformed` and `ReplayError`."""
    window = asked.window(connections, now_ms=int(time.time() * 1000))
    began_s = time.monotonic()
    told = replay(connections, out, window, workers=workers, is_folding=is_folding, progress=progress)
    seconds = time.monotonic() - began_s
    return Report(out, told, digest(out), seconds)
