"""The impression log: one JSON line an impression, in order of time, as anybody can write it (training/IMPRESSIONS.md).

    {"time": "2026-01-02T03:04:05Z", "user": "u1", "context": {"page": "help"}, "history": ["searched late parcel"],
     "candidates": ["track", "refund", "size"], "clicked": ["refund"]}

and one JSON line a candidate, {"id": "track", "text": "Where is my parcel?"}. Files may end in .gz.
"""

from __future__ import annotations

import gzip
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO

import orjson

from training.window import moment_ms

MAX_CANDIDATES = 512


class BadImpression(ValueError):
    """A line that is no impression or no candidate: says the file, the line, what was found and what was expected."""


@dataclass(frozen=True, slots=True)
class Impression:
    """Candidates in the order in which they were shown, and which of them were clicked.

    `clicked` maps candidates to weights: 1 for a click, or a share of many clicks (`is_shared`), where every clicked
    one is compared with all others and not only with those that nobody clicked. `group` names what else must not be
    told apart, e.g. the pane that was shown many times; the user otherwise.
    """

    time_ms: int
    user: str
    candidates: tuple[str, ...]
    clicked: Mapping[str, float]
    context: Mapping[str, str | float] = field(default_factory=dict)
    history: tuple[str, ...] = ()
    text: str = ""
    is_shared: bool = False

    @property
    def words(self) -> str:
        """What is known of the need in words: what was typed, and the newest of the history."""
        return " ".join((self.text, *self.history[-3:])).strip()


def impressions(path: Path) -> Iterator[Impression]:
    """The impressions of a file, one at a time. Raises `BadImpression`, also for a line older than the one before."""
    before_ms = -1
    for number, told in _lines(path):
        try:
            impression = _impression(told)
        except (KeyError, TypeError, ValueError) as error:
            raise BadImpression(
                f"{path}:{number}: {type(error).__name__} {error}; expected time, candidates (a list of ids) and "
                "clicked (a list of them, or {id: share}), and maybe user, context, history and text"
            ) from None
        if impression.time_ms < before_ms:
            raise BadImpression(
                f"{path}:{number}: the time goes back by {before_ms - impression.time_ms} ms; expected impressions in "
                "order of time: sort the file by it, or nothing could be scored before it is learned from"
            )
        before_ms = impression.time_ms
        yield impression


def candidates(path: Path) -> dict[str, str]:
    """{id: text} in the order of the file. Raises `BadImpression`."""
    found: dict[str, str] = {}
    for number, told in _lines(path):
        name, text = (told.get("id"), told.get("text")) if isinstance(told, dict) else (None, None)
        if not (isinstance(name, str) and isinstance(text, str)):
            raise BadImpression(f'{path}:{number}: {str(told)[:80]}; expected {{"id": "...", "text": "..."}}')
        if name in found:
            raise BadImpression(f"{path}:{number}: the id {name} stands twice; expected once: drop one")
        found[name] = text
    if not found:
        raise BadImpression(f"{path} holds no candidate; expected one JSON line each")
    return found


def size(path: Path) -> int:
    """How many lines a file has."""
    with _opened(path) as file:
        return sum(1 for _ in file)


def write(path: Path, lines: Iterator[Mapping[str, object]]) -> int:
    """Writes JSON lines and returns how many."""
    count = 0
    with gzip.open(path, "wb") if path.suffix == ".gz" else path.open("wb") as file:
        for line in lines:
            file.write(orjson.dumps(line) + b"\n")
            count += 1
    return count


def _impression(told: Mapping[str, object]) -> Impression:
    shown = _texts(told["candidates"], "candidates")
    if not 1 <= len(shown) <= MAX_CANDIDATES or len(set(shown)) != len(shown):
        raise ValueError(
            f"{len(shown)} candidates, {len(set(shown))} of them different; expected 1 to {MAX_CANDIDATES}"
        )
    raw = told["clicked"]
    shares = {str(one): float(share) for one, share in raw.items()} if isinstance(raw, dict) else {}
    clicked = shares or dict.fromkeys(_texts(raw, "clicked") if not isinstance(raw, dict) else (), 1.0)
    if strange := sorted(set(clicked) - set(shown)):
        raise ValueError(f"clicked {strange[:3]}, which were not shown")
    if any(share < 0 for share in clicked.values()):
        raise ValueError("a click share below 0")
    context = told.get("context", {})
    if not isinstance(context, dict):
        raise TypeError(f"context {str(context)[:40]}; expected an object of names and values")
    return Impression(
        time_ms=_time_ms(told["time"]),
        user=str(told.get("user", "")),
        candidates=shown,
        clicked={one: share for one, share in clicked.items() if share > 0},
        context={str(name): _value(value) for name, value in context.items() if value is not None},
        history=_texts(told.get("history", []), "history"),
        text=str(told.get("text", "")),
        is_shared=bool(shares),
    )


def _texts(raw: object, name: str) -> tuple[str, ...]:
    if not isinstance(raw, list):
        raise TypeError(f"{name} is {str(raw)[:40]}; expected a list of texts")
    return tuple(str(one) for one in raw)


def _value(value: object) -> str | float:
    return float(value) if isinstance(value, int | float) and not isinstance(value, bool) else str(value)


def _time_ms(raw: object) -> int:
    return raw if isinstance(raw, int) else moment_ms(str(raw), 0)


def _lines(path: Path) -> Iterator[tuple[int, dict[str, object]]]:
    with _opened(path) as file:
        for number, line in enumerate(file, start=1):
            if line.strip():
                try:
                    yield number, orjson.loads(line)
                except orjson.JSONDecodeError as error:
                    raise BadImpression(f"{path}:{number}: no JSON ({error}); expected one object a line") from None


@contextmanager
def _opened(path: Path) -> Iterator[IO[bytes]]:
    if not path.is_file():
        raise FileNotFoundError(f"{path} is no file; expected JSON lines, see training/IMPRESSIONS.md for the format")
    with gzip.open(path, "rb") if path.suffix == ".gz" else path.open("rb") as file:
        yield file  # type: ignore[misc]
