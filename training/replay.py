"""The only road to training: a window of the log as Parquet files, byte-identical every time it is replayed.

How the files look is in `training.log_files`, which records a window means in `training.window`, how several
processes share the work in `training.parts`. The folder appears whole or not at all.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Collection, Mapping, Sequence
from pathlib import Path

from features.settings import Connections
from training.log_files import Replayed, ReplayError, Source, digest, manifest, prompts, publish, read, refuse_foreign
from training.log_source import opened
from training.parts import FOLD, READ, Done, Job, Part, default_workers, do_all
from training.rebuild import Folded
from training.window import TOPICS, Window

__all__ = [
    "TOPICS", "Folded", "Progress", "ReplayError", "Replayed", "Source", "Window", "digest", "manifest", "prompts",
    "read", "replay",
]  # fmt: skip

EVERYTHING = Window()
Progress = Callable[[str, int, int], None]
"""Called with (what, records done, records in the window); `what` is "read the log" or "fold the events"."""


def replay(
    connections: Connections,
    out: Path,
    window: Window = EVERYTHING,
    *,
    sources: Collection[Source] = tuple(TOPICS),
    workers: int | None = None,
    is_folding: bool = False,
    progress: Progress = lambda what, done, total: None,
    deadline_s: float = 30.0,
) -> Replayed:
    """Writes the window to the folder `out`, replacing what an earlier replay put there.

    `workers` processes share the partitions (None: as many as pay); the bytes are the same for any number.
    `is_folding` also folds the events as the worker does, and writes the users' rows (`training.user_rows`).
    Raises `ReplayError` when Kafka says nothing for `deadline_s`, a topic is missing, or asked-for offsets are no
    longer (or not yet) in the log.
    """
    refuse_foreign(out)
    partial = out.with_name(f".{out.name}.partial")
    shutil.rmtree(partial, ignore_errors=True)
    with opened(connections, deadline_s) as log:
        spans = {source: log.spans(source, window) for source in TOPICS if source in sources}
    parts = [Part(source, number, span) for source, by in spans.items() for number, span in by.items()]
    job = Job(connections, partial, deadline_s, is_folding)
    try:
        for source in spans:
            (partial / source).mkdir(parents=True)
        done = do_all(job, parts, workers or default_workers(parts), _Bars(parts, progress).moved)
        told = _summed(spans, done)
        publish(partial, out, told)
    except BaseException:
        shutil.rmtree(partial, ignore_errors=True)
        raise
    return told


class _Bars:
    """How far the parts are, all together."""

    def __init__(self, parts: Sequence[Part], progress: Progress) -> None:
        self._progress = progress
        self._done = {READ: 0, FOLD: 0}
        self._total = {
            READ: sum(part.size for part in parts),
            FOLD: sum(part.size for part in parts if part.source == "events"),
        }

    def moved(self, what: str, count: int) -> None:
        self._done[what] = min(self._done[what] + count, self._total[what])
        if self._total[what]:
            self._progress(what, self._done[what], self._total[what])


def _summed(spans: Mapping[Source, dict[int, tuple[int, int]]], done: Sequence[Done]) -> Replayed:
    records, faulty = dict.fromkeys(spans, 0), dict.fromkeys(spans, 0)
    for found in done:
        records[found.part.source] += found.records
        faulty[found.part.source] += found.faulty
    folded = {found.part.partition: found.folded for found in done if found.folded is not None}
    return Replayed(dict(spans), records, faulty, dict(sorted(folded.items())))
