"""Pure functions of event time: what a count, a tile, an age or a session is, each with its equation."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

from msgspec import Struct

MINUTE_MS = 60_000
HOUR_MS = 60 * MINUTE_MS
DAY_MS = 24 * HOUR_MS
MINUTE_S, HOUR_S, DAY_S, WEEK_S = 60.0, 3_600.0, 86_400.0, 604_800.0
HALF_LIVES_S = (MINUTE_S, HOUR_S, DAY_S, WEEK_S)
"""Half-lives of the decayed counts, and the widths of the windows of tiled counts: 1 min, 1 h, 1 d, 7 d."""
NEVER_S = -1.0
"""The age of what never happened."""


def decayed_count(count: float, age_s: float, half_life_s: float) -> float:
    """A count halved every `half_life_s` seconds of event time:  c * 2 ** (-age / half_life).

    Negative ages (late clocks) count as 0. Raises ValueError if half_life_s <= 0.

    >>> decayed_count(8.0, age_s=60.0, half_life_s=30.0)
    2.0
    """
    if half_life_s <= 0:
        raise ValueError(f"half_life_s is {half_life_s}, expected more than 0 seconds")
    return count * math.exp2(-max(age_s, 0.0) / half_life_s)


class Tally(Struct, array_like=True, frozen=True, gc=False, forbid_unknown_fields=True):
    """Decayed counts of one kind of event, one for each of `HALF_LIVES_S`, as of `last_ms`, the newest event's time."""

    minute: float
    hour: float
    day: float
    week: float
    last_ms: int

    @classmethod
    def first(cls, at_ms: int) -> Tally:
        """The tally of a single event."""
        return cls(1.0, 1.0, 1.0, 1.0, at_ms)

    def plus(self, at_ms: int) -> Tally:
        """One more event, in any order of arrival:  c' = c * 2 ** (-(as_of' - as_of) / h) + 2 ** (-(as_of' - at) / h).

        as_of' = max(as_of, at): the older of the two sides is decayed, so the sum does not depend on the order.

        >>> Tally.first(0).plus(60_000).minute, Tally.first(60_000).plus(0).minute
        (1.5, 1.5)
        """
        age_s, exp2 = (at_ms - self.last_ms) / 1000, math.exp2
        if age_s >= 0:
            return Tally(
                self.minute * exp2(-age_s / MINUTE_S) + 1.0,
                self.hour * exp2(-age_s / HOUR_S) + 1.0,
                self.day * exp2(-age_s / DAY_S) + 1.0,
                self.week * exp2(-age_s / WEEK_S) + 1.0,
                at_ms,
            )
        return Tally(
            self.minute + exp2(age_s / MINUTE_S),
            self.hour + exp2(age_s / HOUR_S),
            self.day + exp2(age_s / DAY_S),
            self.week + exp2(age_s / WEEK_S),
            self.last_ms,
        )

    def count(self, half_life_s: float, now_ms: int) -> float:
        """The count decayed to `now_ms`. Raises ValueError for a half-life that is not kept."""
        return decayed_count(getattr(self, _half_life(half_life_s)), (now_ms - self.last_ms) / 1000, half_life_s)


_COUNT_OF = dict(zip(HALF_LIVES_S, ("minute", "hour", "day", "week"), strict=True))


def _half_life(half_life_s: float) -> str:
    name = _COUNT_OF.get(half_life_s)
    if name is None:
        raise ValueError(f"no count with a half-life of {half_life_s} s is kept: ask for one of {HALF_LIVES_S} s")
    return name


class Tiling(NamedTuple):
    """How a window is cut into tiles of event time: `kept` tiles of `width_ms`."""

    width_ms: int
    kept: int


TILINGS: dict[float, Tiling] = {
    MINUTE_S: Tiling(10_000, 6),
    HOUR_S: Tiling(5 * MINUTE_MS, 12),
    DAY_S: Tiling(HOUR_MS, 24),
    WEEK_S: Tiling(6 * HOUR_MS, 28),
}
"""The tiles of each window, by its length in seconds."""
_TILINGS = tuple(tuple(tiling) for tiling in TILINGS.values())


Tiles = list[int]
"""The counts of one window, flat and in order of time, without the empty ones: [b, count, b', count', ...]."""


def add_to_tiles(windows: Sequence[Tiles], at_ms: int) -> None:
    """Counts an event in its tile b = floor(at / width) of each window of `TILINGS`, in place.

    A tile that is not among the `kept` newest up to the newest one's is out of its window and is dropped, whenever
    its events arrive, so at most `kept` tiles stay and their counts do not depend on the order of arrival:

        tiles = {b: n_b : b > b_newest - kept}

    >>> windows = [], [], [], []
    >>> for at_s in (5, 25, 26, 8):
    ...     add_to_tiles(windows, 1000 * at_s)
    >>> windows[0], windows[3]
    ([0, 2, 2, 2], [0, 4])
    """
    for tiles, (width_ms, kept) in zip(windows, _TILINGS):  # noqa: B905 - both are four, and this runs for every event
        tile = at_ms // width_ms
        newest = tiles[-2] if tiles else -1
        if tile == newest:
            tiles[-1] += 1
        elif tile > newest:
            tiles.extend((tile, 1))
            while tiles[0] <= tile - kept:
                del tiles[:2]
        elif tile > newest - kept:
            _add_between(tiles, tile)


def _add_between(tiles: Tiles, tile: int) -> None:
    place = 0
    while tiles[place] < tile:
        place += 2
    if tiles[place] == tile:
        tiles[place + 1] += 1
    else:
        tiles[place:place] = (tile, 1)


def count_in_tiles(tiles: Tiles, now_ms: int, tiling: Tiling) -> int:
    """The events of the window that ends at `now_ms`, or at the newest event when that is later.

        N(now) = sum of n_b over b > max(floor(now / width), b_newest) - kept

    The oldest tile counts whole or not at all, so the window is between kept - 1 and kept tiles long.

    >>> count_in_tiles([0, 2, 2, 2], 59_999, Tiling(10_000, 6)), count_in_tiles([0, 2, 2, 2], 60_000, Tiling(10_000, 6))
    (4, 2)
    """
    oldest, first = now_ms // tiling.width_ms - tiling.kept, 0
    while first < len(tiles) and tiles[first] <= oldest:
        first += 2
    return sum(tiles[first + 1 :: 2])


def age_s(at_ms: int, now_ms: int, cap_s: float) -> float:
    """Seconds since `at_ms`, within [0, cap_s]; `NEVER_S` when it never happened (at_ms <= 0).

    >>> age_s(1_000, now_ms=4_500, cap_s=2.0), age_s(0, now_ms=4_500, cap_s=2.0)
    (2.0, -1.0)
    """
    if at_ms <= 0:
        return NEVER_S
    return min(max((now_ms - at_ms) / 1000, 0.0), cap_s)


def hour_angle(now_ms: int) -> tuple[float, float]:
    """The time of day (UTC) on a circle:  (sin, cos)(2 pi * ms_of_day / day).

    >>> sin, cos = hour_angle(6 * HOUR_MS)
    >>> round(sin, 6), round(cos, 6)
    (1.0, 0.0)
    """
    angle = 2 * math.pi * (now_ms % DAY_MS) / DAY_MS
    return math.sin(angle), math.cos(angle)


def is_new_session(last_ms: int, at_ms: int, gap_ms: int) -> bool:
    """Whether an event opens a session: the first of all, or more than `gap_ms` after the newest one before it.

    >>> is_new_session(0, 5, 10), is_new_session(5, 15, 10), is_new_session(5, 16, 10)
    (True, False, True)
    """
    return last_ms <= 0 or at_ms - last_ms > gap_ms
