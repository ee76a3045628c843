"""Which part of the log to replay: by time, or by exact offsets, as a person asks for it on a command line."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from features.contract import from_ms, to_ms
from features.settings import Connections
from training.log_files import MANIFEST, Source, manifest

TOPICS: Mapping[Source, str] = {
    "events": "shop.user.events.v1",
    "decisions": "rgalign.decisions.v1",
    "outcomes": "rgalign.outcomes.v1",
    "queries": "rgalign.queries.requested.v1",
}
Offsets = Mapping[Source, Mapping[int, tuple[int, int]]]
"""{source: {partition: (first, end)}}; end is exclusive. What is not named is left out."""

_AGO = re.compile(r"(\d+)\s*([smhdw])")
_UNIT_MS = {"s": 1000, "m": 60_000, "h": 3_600_000, "d": 86_400_000, "w": 604_800_000}
_SPAN = re.compile(r"(.+)\[(\d+)\]=(\d+):(\d+)")


class WindowMalformed(ValueError):
    """A time or a span of offsets that cannot be meant."""


@dataclass(frozen=True, slots=True)
class Window:
    """What to replay: each partition from its first record at or after since_ms to its first at or after until_ms.

    None = from the oldest record kept, up to the newest at the start of the replay. `offsets`, as a `Replayed` holds
    them, rule alone.
    """

    since_ms: int | None = None
    until_ms: int | None = None
    offsets: Offsets | None = None

    def __post_init__(self) -> None:
        """Raises `WindowMalformed` for a window that holds nothing or says two things."""
        if self.offsets is not None and (self.since_ms, self.until_ms) != (None, None):
            raise WindowMalformed("found both offsets and times; offsets rule alone: leave out --since and --until")
        if self.since_ms is not None and self.until_ms is not None and self.since_ms >= self.until_ms:
            raise WindowMalformed(
                f"the window begins at {from_ms(self.since_ms).isoformat()} and ends at "
                f"{from_ms(self.until_ms).isoformat()}; expected --since before --until"
            )


def moment_ms(text: str, now_ms: int) -> int:
    """A time in ms: RFC 3339, UTC where it names no zone, or how long before `now_ms`. Raises `WindowMalformed`.

    >>> moment_ms("1970-01-01T00:00:02Z", 0), moment_ms("1970-01-02", 0), moment_ms("2h", 7_200_001)
    (2000, 86400000, 1)
    """
    if ago := _AGO.fullmatch(text.strip()):
        return now_ms - int(ago[1]) * _UNIT_MS[ago[2]]
    try:
        moment = datetime.fromisoformat(text.strip())
        return to_ms(moment if moment.tzinfo else moment.replace(tzinfo=UTC))
    except (ValueError, OverflowError) as error:
        raise WindowMalformed(
            f"found the time {text!r}; expected RFC 3339 (2026-11-23T08:00:00Z) or how long ago: 90s, 15m, 2h, 1d, 1w"
        ) from error


def offsets_asked(texts: Iterable[str], connections: Connections) -> Offsets:
    """Spans from manifests of earlier replays and from items `topic[partition]=first:end`; later ones replace earlier.

    Raises `WindowMalformed` for anything else, or for a topic that is not replayed.
    """
    asked: dict[Source, dict[int, tuple[int, int]]] = {}
    for text in texts:
        for source, spans in _spans(text, connections).items():
            asked.setdefault(source, {}).update(spans)
    return asked


def _spans(text: str, connections: Connections) -> Offsets:
    if item := _SPAN.fullmatch(text):
        first, end = int(item[3]), int(item[4])
        if first > end:
            raise WindowMalformed(f"{text}: found first {first} after end {end}; expected first:end, end not included")
        return {_source(item[1], connections): {int(item[2]): (first, end)}}
    path = Path(text)
    path = path / MANIFEST if path.is_dir() else path
    if not path.is_file():
        raise WindowMalformed(
            f"--offsets {text!r} is neither a file nor a span; expected the {MANIFEST} of an earlier replay, or "
            f"'topic[partition]=first:end', as '{TOPICS['events']}[0]=100:200'"
        )
    try:
        return manifest(path).offsets
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise WindowMalformed(
            f"{path} is no manifest ({error}); expected the {MANIFEST} of an earlier replay"
        ) from error


def _source(topic: str, connections: Connections) -> Source:
    for source, name in TOPICS.items():
        if topic in {name, connections.named(name)}:
            return source
    raise WindowMalformed(f"found the topic {topic!r}; expected one that is replayed: {', '.join(TOPICS.values())}")
